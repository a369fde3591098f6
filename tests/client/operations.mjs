// Every operation that the client offers, read off its classes, and those that a test has driven to an answer.

import { InkeepAnalytics } from "@inkeep/inkeep-analytics";

export const offered = new Set();
export const driven = new Set();

watch("", new InkeepAnalytics({ serverURL: "http://unused.invalid" }));

/** The classes stand behind getters of the client; all other methods of theirs are operations. */
function watch(group, instance) {
  const prototype = Object.getPrototypeOf(instance);
  for (const [name, { get, value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (name === "constructor") continue;
    if (get) {
      watch(`${name}.`, instance[name]);
      continue;
    }
    const operation = group + name;
    offered.add(operation);
    prototype[name] = async function (...parameters) {
      const answer = await value.apply(this, parameters);
      driven.add(operation);
      return answer;
    };
  }
}
