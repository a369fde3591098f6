// The real binary on a store of its own and a free port.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const binary = process.env.CONVOLAKE_BINARY;

export async function startServer() {
  if (!binary) throw new Error("CONVOLAKE_BINARY names no binary");
  const folder = mkdtempSync(join(tmpdir(), "convolake-client-"));
  const store = join(folder, "store");
  const key = (kind, ...more) =>
    execFileSync(binary, ["keys", "create", "--store", store, "--kind", kind, "--organization", "acme", ...more], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  const own = ["--project", "help", "--integration", "widget"];
  const of = (project) => key("api", "--project", project, "--integration", "widget");
  const keys = { api: key("api", ...own), web: key("web", ...own), other: of("other"), threads: of("threads") };
  const child = spawn(binary, ["serve", "--store", store, "--listen", "127.0.0.1:0"], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, RUST_LOG: "error" },
  });
  const serverURL = await new Promise((resolve, reject) => {
    let text = "";
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
    child.stdout.on("data", (chunk) => {
      text += chunk;
      const found = /^listening on (\S+)$/m.exec(text);
      if (found) resolve(found[1]);
    });
  });
  const stop = async () => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    const code = await ended;
    rmSync(folder, { recursive: true, force: true });
    return code;
  };
  return { serverURL, keys, stop };
}
