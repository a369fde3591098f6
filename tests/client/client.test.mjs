// The official client of the Inkeep analytics API, unmodified, against the real binary. It validates every response
// against its published schema, and throws where one does not fit.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { fileURLToPath } from "node:url";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

import { InkeepAnalytics } from "@inkeep/inkeep-analytics";
import * as errors from "@inkeep/inkeep-analytics/models/errors";

import { startServer } from "./server.mjs";

const mcpServer = fileURLToPath(new URL("./node_modules/@inkeep/inkeep-analytics/bin/mcp-server.js", import.meta.url));
let server;
let client;
const security = () => ({ apiIntegrationKey: server.keys.api });

before(async () => {
  server = await startServer();
  client = new InkeepAnalytics({ serverURL: server.serverURL, apiIntegrationKey: server.keys.api, retryConfig: { strategy: "none" } });
});

after(async () => {
  assert.equal(await server.stop(), 0);
});

const weather = [{ id: "call-1", type: "function", function: { name: "weather", arguments: '{"city":"Oslo"}' } }];

const documents = {
  openai: {
    type: "openai",
    externalId: "a-1",
    properties: { plan: "pro", score: 0.93, big: 12345678901, nested: { list: [1, "zwei", null, { drei: true }] }, "odd.name €": "" },
    userProperties: { userId: "u-1", email: "u1@example.com", additionalProperties: { team: "blue", seats: 3 } },
    tags: ["a", "b"],
    messages: [
      { role: "user", content: "How do I rotate a key?", externalId: "m-1" },
      { role: "assistant", content: "In the settings.", links: [{ label: "Keys", url: "https://example.com/keys", title: "Keys" }] },
    ],
  },
  tools: {
    type: "openai",
    messages: [
      { role: "user", content: [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url: "https://example.com/a.png" } }] },
      { role: "assistant", content: "", toolCalls: weather },
      { role: "assistant", content: "An oak, in Oslo." },
    ],
  },
  ticket: {
    type: "support_ticket",
    externalId: "t-1",
    externalUrl: "https://example.com/tickets/1",
    messages: [{ role: "user", content: "It does not start." }, { role: "agent", name: "Ada", content: "Is it plugged in?" }],
  },
  copilot: {
    type: "support_copilot",
    supportTicketConversationId: "t-1",
    messages: [{ role: "user", content: "Draft an answer." }, { role: "assistant", content: "Please plug it in." }],
  },
};

const log = (document, keys = security()) => client.conversations.log(keys, document);

async function failure(promise, type, status) {
  const error = await promise.then(
    (value) => assert.fail(`answered ${JSON.stringify(value)}`),
    (error) => error,
  );
  assert.ok(error instanceof type, `${error?.name}: ${error?.message}`);
  assert.equal(error.statusCode ?? error.status, status);
  return error;
}

describe("conversations", () => {
  for (const name of Object.keys(documents)) {
    test(`log and read back: ${name}`, async () => {
      const logged = await log(documents[name]);
      assert.equal(logged.type, documents[name].type);
      assert.equal(logged.messages.length, documents[name].messages.length);
      const read = await client.conversations.get(security(), { id: logged.id });
      assert.deepEqual(read, logged);
    });
  }

  test("properties come back as they were", async () => {
    const logged = await log(documents.openai);
    assert.deepEqual(logged.properties, documents.openai.properties);
    assert.equal(logged.userProperties.userId, "u-1");
  });

  test("the same externalId is the same conversation", async () => {
    const first = await log(documents.ticket);
    const second = await log({ ...documents.ticket, properties: { again: true } });
    assert.equal(second.id, first.id);
    const found = await client.conversation.getConversationByExternalId({ externalId: "t-1" });
    assert.equal(found.id, first.id);
    assert.deepEqual(found.properties, { again: true });
  });

  test("a web key logs, and gets by id", async () => {
    const web = { webIntegrationKey: server.keys.web };
    const logged = await log(documents.tools, web);
    assert.equal((await client.conversations.get(web, { id: logged.id })).id, logged.id);
  });

  test("list", async () => {
    const all = await client.conversations.list({});
    assert.ok(all.conversations.length >= 4);
    const page = await client.conversations.list({ limit: 1, offset: 1 });
    assert.equal(page.conversations[0].id, all.conversations[1].id);
  });

  test("delete", async () => {
    const { id } = await log(documents.copilot);
    await client.conversations.delete(security(), { id });
    await failure(client.conversations.get(security(), { id }), errors.NotFound, 404);
    await failure(client.conversations.delete(security(), { id }), errors.NotFound, 404);
  });
});

describe("query.conversations", () => {
  const count = { type: "aggregation", aggregation: "count" };

  test("counts by a property", async () => {
    const answer = await client.query.conversations({ select: [count], groupBy: [{ field: "properties", path: ["plan"] }], where: { condition: { field: "properties", operator: "eq", value: { path: ["plan"], value: "pro" } } } });
    assert.equal(answer.data.result.length, 1);
    assert.equal(answer.data.result[0].count, 1);
  });

  test("time buckets, aggregations and whole rows", async () => {
    const buckets = await client.query.conversations({ select: [{ type: "time", timeUnit: "month" }, count] });
    assert.equal(buckets.data.result.length, 1);
    const numbers = await client.query.conversations({ select: ["sum", "avg", "min", "max"].map((aggregation) => ({ type: "aggregation", aggregation, field: "properties", path: ["score"] })) });
    assert.equal(numbers.data.total, 1);
    const rows = await client.query.conversations({});
    assert.equal(rows.data.result.length, rows.data.total);
  });

  test("another project sees nothing", async () => {
    const other = new InkeepAnalytics({ serverURL: server.serverURL, apiIntegrationKey: server.keys.other });
    assert.equal((await other.query.conversations({})).data.total, 0);
    assert.equal((await other.conversations.list({})).conversations.length, 0);
  });
});

describe("events", () => {
  const event = (document) => client.events.log(security(), document);

  test("of each entity", async () => {
    const { id, messages } = await log(documents.openai);
    const message = await event({ entityType: "message", type: "copied", messageId: messages[1].id, properties: { at: 3 } });
    assert.equal(message.messageId, messages[1].id);
    assert.deepEqual(message.properties, { at: 3 });
    const conversation = await event({ entityType: "conversation", type: "opened", conversationId: id });
    assert.equal(conversation.conversationId, id);
    for (const user of ["u-1", "u-2", "u-2"]) {
      const search = await event({ entityType: "search", type: "search", searchQuery: "rotate key", userProperties: { userId: user, additionalProperties: {} } });
      assert.equal(search.searchQuery, "rotate key");
    }
    await event({ entityType: "search", type: "search", searchQuery: "billing" });
  });

  test("a web key logs", async () => {
    const logged = await client.events.log({ webIntegrationKey: server.keys.web }, { entityType: "search", type: "search", searchQuery: "sso", createdAt: new Date("2024-08-28T10:00:00Z") });
    assert.equal(logged.type, "search");
  });

  test("queried", async () => {
    const rows = await client.query.queryEvents({ orderBy: [{ field: "createdAt", direction: "desc" }] });
    assert.equal(rows.data.total, 7);
    const counts = await client.query.queryEvents({ select: [{ type: "aggregation", aggregation: "count" }], groupBy: [{ field: "type" }] });
    assert.equal(counts.data.result.length, 3);
  });

  test("reports on searches", async () => {
    const top = await client.topSearchQueries({});
    assert.deepEqual(top.data.result[0], { searchQuery: "rotate key", count: "3" });
    assert.equal(top.data.total, 3);
    const weeks = await client.weeklySearchUsers({});
    assert.equal(weeks.data.result.at(-1).uniqueUsers, "2");
    const later = await client.topSearchQueries({ after: "2999-01-01" });
    assert.equal(later.data.total, 0);
  });
});

describe("feedback", () => {
  test("submitted, listed, read, queried", async () => {
    const { messages } = await log(documents.openai);
    const given = { type: "negative", messageId: messages[1].id, reasons: [{ label: "wrong", details: "It is elsewhere." }], details: "No." };
    const submitted = await client.feedback.submit(given);
    assert.equal(submitted.type, "negative");
    assert.deepEqual(submitted.reasons, given.reasons);
    const again = await client.feedback.submit({ ...given, id: submitted.id, type: "positive" });
    assert.equal(again.id, submitted.id);
    const read = await client.feedback.getFeedbackById({ id: submitted.id });
    assert.equal(read.message.id, messages[1].id);
    const list = await client.feedback.list({ limit: 10 });
    assert.equal(list.positiveFeedbackCount, 1);
    assert.equal(list.positiveFeedback[0].id, submitted.id);
    assert.equal(list.negativeFeedback.length, 0);
    const rows = await client.query.queryFeedback({});
    assert.equal(rows.data.total, 1);
    assert.equal(rows.data.result[0].messageId, messages[1].id);
  });

  test("of a message that nobody has", async () => {
    await failure(client.feedback.submit({ type: "positive", messageId: "nobody" }), errors.UnprocessableEntity, 422);
    await failure(client.feedback.getFeedbackById({ id: "nobody" }), errors.NotFound, 404);
  });
});

describe("properties", () => {
  test("keys", async () => {
    const { results } = await client.query.queryPropertyKeys({ field: "properties" });
    assert.deepEqual(results, ["again", "at", "big", "nested", "odd.name €", "plan", "score"]);
    const chosen = await client.query.queryPropertyKeys({ field: "userProperties", views: ["conversations_view"] });
    assert.ok(chosen.results.includes("userId"));
  });

  test("values", async () => {
    const { results } = await client.query.queryPropertyValues({ field: "properties", key: "plan", limit: 10 });
    assert.deepEqual(results, ["pro"]);
  });
});

describe("errors are the client's own types", () => {
  test("401", async () => {
    const stranger = new InkeepAnalytics({ serverURL: server.serverURL, apiIntegrationKey: "nobody" });
    await failure(stranger.conversations.list({}), errors.Unauthorized, 401);
  });
  test("403", async () => {
    const web = new InkeepAnalytics({ serverURL: server.serverURL, apiIntegrationKey: server.keys.web });
    await failure(web.conversations.list({}), errors.Forbidden, 403);
  });
  test("404", async () => {
    await failure(client.conversations.get(security(), { id: "nobody" }), errors.NotFound, 404);
    await failure(client.conversation.getConversationByExternalId({ externalId: "nobody" }), errors.NotFound, 404);
  });
  test("422", async () => {
    const error = await failure(client.query.conversations({ where: { condition: { field: "userMessageCount", operator: "eq", value: "x" } } }), errors.UnprocessableEntity, 422);
    assert.match(error.detail, /where/);
  });
});

describe("the client's MCP server", () => {
  test("lists its tools and calls one", async () => {
    const transport = new StdioClientTransport({
      command: process.execPath,
      args: [mcpServer, "start", "--server-url", server.serverURL, "--api-integration-key", server.keys.api],
      stderr: "ignore",
    });
    const mcp = new Client({ name: "test", version: "1" });
    await mcp.connect(transport);
    try {
      const { tools } = await mcp.listTools();
      const names = tools.map((tool) => tool.name);
      for (const name of ["conversations-list", "query-conversations"]) assert.ok(names.includes(name), names.join());
      const answer = await mcp.callTool({ name: "conversations-list", arguments: { request: { limit: 1 } } });
      assert.ok(!answer.isError, JSON.stringify(answer));
      assert.equal(JSON.parse(answer.content[0].text).conversations.length, 1);
    } finally {
      await mcp.close();
    }
  });
});
