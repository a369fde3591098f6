// The official client of the Inkeep analytics API, unmodified, against the real binary. It validates every response
// against its published schema, and throws where one does not fit.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { fileURLToPath } from "node:url";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

import { InkeepAnalytics } from "@inkeep/inkeep-analytics";
import * as errors from "@inkeep/inkeep-analytics/models/errors";

import { driven, offered } from "./operations.mjs";
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

describe("query.querySemanticThreads", () => {
  const count = { type: "aggregation", aggregation: "count" };
  const user = { userId: "u-1", additionalProperties: { team: "blue" } };
  const where = (field, operator, value) => ({ where: { condition: { field, operator, value } } });
  let asker;
  let conversations;

  const rows = async (request) => {
    const { status, data } = await asker.query.querySemanticThreads(request);
    assert.equal(status, "ok");
    assert.deepEqual([data.count, data.total], [data.result.length, data.result.length]);
    return data.result;
  };
  const times = (row) => [row.firstMessageTime, row.lastMessageTime, row.lastUpdated].map((time) => time.toISOString());
  const questions = async (request) => (await rows(request)).map((row) => row.question).sort();
  const csv = async (request) => await new Response(await asker.query.exportSemanticThreadsQueryResults(request)).text();

  before(async () => {
    const key = server.keys.threads;
    asker = new InkeepAnalytics({ serverURL: server.serverURL, apiIntegrationKey: key, retryConfig: { strategy: "none" } });
    const logged = (document) => log(document, { apiIntegrationKey: key });
    const parts = [{ type: "text", text: "And what is" }, { type: "image_url", imageUrl: { url: "https://example.com/a.png" } }, { type: "text", text: "this?" }];
    const at = (minute) => new Date(`2024-08-26T09:0${minute}:00Z`);
    const chat = await logged({
      type: "openai",
      properties: { plan: "pro", "odd.name": 1 },
      userProperties: user,
      messages: [
        { role: "system", content: "Be kind.", createdAt: at(0) },
        { role: "user", content: "How do I rotate the key of my application without any downtime?", createdAt: at(1) },
        { role: "assistant", content: "In the settings.", createdAt: at(2) },
        { role: "user", content: parts, createdAt: at(3) },
        { role: "assistant", content: "", toolCalls: weather, createdAt: at(4) },
        { role: "assistant", content: "An oak, in Oslo.", createdAt: at(5) },
      ],
    });
    const ticket = await logged({
      type: "support_ticket",
      createdAt: at(9),
      messages: [
        { role: "agent", content: "Welcome." },
        { role: "user", content: "It does not start." },
        { role: "agent", name: "Ada", content: "Is it plugged in?" },
        { role: "bot", content: null },
        { role: "user", content: "Yes." },
      ],
    });
    await asker.feedback.submit({ type: "positive", messageId: chat.messages[2].id });
    await asker.feedback.submit({ type: "negative", messageId: ticket.messages[4].id });
    conversations = { chat, ticket };
  });

  test("whole rows of a chat", async () => {
    const { chat } = conversations;
    const [first, second] = await rows({ ...where("conversationIds", "arrayContains", chat.id), orderBy: [{ field: "firstMessageTime", direction: "asc" }] });
    const ids = chat.messages.map((message) => message.id);
    assert.deepEqual(first.messageIds, ids.slice(1, 3));
    assert.deepEqual(second.messageIds, ids.slice(3));
    assert.equal(first.question, "How do I rotate the key of my application without any downtime?");
    assert.deepEqual([first.messagesCount, first.questionLength, first.answer], [2, first.question.length, "In the settings."]);
    assert.deepEqual([second.question, second.answer], ["And what is\nthis?", "An oak, in Oslo."]);
    assert.deepEqual(times(first), [chat.messages[1].createdAt, chat.messages[2].createdAt, chat.updatedAt]);
    assert.deepEqual([first.properties, first.userProperties], [chat.properties, chat.userProperties]);
    assert.deepEqual([first.languages, first.conversationIds], [["en"], [chat.id]]);
    const marks = (row) => [row.isInitialQuestionAnswer, row.hasPositiveFeedback, row.hasNegativeFeedback];
    assert.deepEqual([marks(first), marks(second)], [[true, true, false], [false, false, false]]);
    for (const annotation of ["isOnTopic", "gapSummary", "firstPartyEntities", "areAIAnnotationsVerified"]) assert.equal(first[annotation], null);
  });

  test("whole rows of a ticket", async () => {
    const { ticket } = conversations;
    const [first, second] = await rows({ ...where("conversationIds", "arrayContains", [ticket.id]), orderBy: [{ field: "isInitialQuestionAnswer", direction: "desc" }] });
    const ids = ticket.messages.map((message) => message.id);
    assert.deepEqual([first.messageIds, second.messageIds], [ids.slice(1, 4), ids.slice(4)]);
    assert.deepEqual([first.question, first.answer], ["It does not start.", "Is it plugged in?"]);
    assert.deepEqual([second.question, second.answer], ["Yes.", undefined]);
    assert.deepEqual([first.properties, first.userProperties, second.hasNegativeFeedback], [null, null, true]);
    assert.deepEqual(times(first), [ticket.createdAt, ticket.createdAt, ticket.updatedAt]);
  });

  test("filters", async () => {
    const [rotate, image, start, yes] = ["How do I rotate the key of my application without any downtime?", "And what is\nthis?", "It does not start.", "Yes."];
    const message = conversations.ticket.messages[3].id;
    for (const [filter, expected] of [
      [where("hasPositiveFeedback", "eq", true), [rotate]],
      [where("hasNegativeFeedback", "neq", true), [image, rotate, start]],
      [where("answer", "isNull"), [yes]],
      [where("messagesCount", "gte", 3), [image, start]],
      [where("messageIds", "arrayContains", message), [start]],
      [where("languages", "arrayContains", "en"), [image, rotate]],
      [where("isOnTopic", "isNotNull"), []],
      [where("question", "in", [yes, start]), [start, yes]],
      [where("properties", "eq", { path: ["plan"], value: "pro" }), [image, rotate]],
      [where("userProperties", "jsonContains", { team: "blue" }), [image, rotate]],
      [where("firstMessageTime", "lt", "2024-08-26T09:03:00Z"), [rotate]],
      [{ where: { and: [where("isInitialQuestionAnswer", "eq", true).where, { or: [where("question", "eq", start).where] }] } }, [start]],
    ]) assert.deepEqual(await questions(filter), expected, JSON.stringify(filter));
  });

  test("words", async () => {
    assert.deepEqual(await questions({ query: "SETTINGS rotate" }), ["How do I rotate the key of my application without any downtime?"]);
    assert.deepEqual(await questions({ query: "plugged start", ...where("properties", "isNull") }), ["It does not start."]);
    assert.equal((await questions({ query: " " })).length, 4);
    assert.deepEqual(await questions({ query: "kind" }), []);
  });

  test("groups", async () => {
    const byFlag = await rows({ select: [count, { type: "aggregation", aggregation: "sum", field: "messagesCount" }], groupBy: [{ field: "isInitialQuestionAnswer" }], orderBy: [{ field: "isInitialQuestionAnswer", direction: "desc" }] });
    assert.deepEqual(byFlag.map((row) => [row.isInitialQuestionAnswer, row.count, row.sumMessagesCount]), [[true, 2, 5], [false, 2, 4]]);
    const byList = await rows({ select: [count], groupBy: [{ field: "conversationIds" }], orderBy: [{ field: "count_id", direction: "desc" }] });
    assert.deepEqual(byList.map((row) => row.conversationIds[0]).sort(), [conversations.chat.id, conversations.ticket.id].sort());
    const byPath = await rows({ select: [count], groupBy: [{ field: "properties", path: ["plan"] }] });
    assert.deepEqual(byPath.map((row) => [row.additionalProperties["properties.plan"], row.count]), [["pro", 2], [null, 2]]);
    const byMonth = await rows({ select: [count, { type: "time", timeUnit: "month" }] });
    assert.deepEqual(byMonth.map((row) => row.firstMessageTimeMonth), ["2024-08-01T00:00:00.000Z"]);
    // Null in a field that is never null for the client: the group's row leaves it out.
    const byAnswer = await rows({ select: [count], groupBy: [{ field: "answer" }] });
    assert.deepEqual(byAnswer.map((row) => row.answer), ["An oak, in Oslo.", "In the settings.", "Is it plugged in?", undefined]);
  });

  test("exported", async () => {
    const plain = await csv({ select: ["question", "answer"].map((field) => ({ type: "field", field })), query: "plugged" });
    assert.equal(plain, "question,answer\r\nIt does not start.,Is it plugged in?\r\n");
    const whole = await csv({});
    const header = whole.slice(0, whole.indexOf("\r\n")).split(",");
    for (const column of ["id", "messageIds", "properties.plan", "userProperties.team", "isInitialQuestionAnswer"]) assert.ok(header.includes(column), header.join());
    assert.equal(whole.split(/\r\n/).length, 4 + 2);
    assert.match(whole, /"And what is\nthis\?"/);
    const unpacked = await csv({ select: [{ type: "field", field: "properties" }], ...where("hasPositiveFeedback", "eq", true) });
    assert.equal(unpacked, "properties.odd.name,properties.plan\r\n1,pro\r\n");
  });

  test("annotated", async () => {
    const [{ id }] = await rows(where("question", "eq", "Yes."));
    const annotations = { isOnTopic: false, subject: "power", thirdPartyEntities: ["Ada"], areAIAnnotationsVerified: true };
    const headers = { authorization: `Bearer ${server.keys.threads}`, "content-type": "application/json" };
    const answer = await fetch(`${server.serverURL}/semantic-threads/${id}`, { method: "PATCH", headers, body: JSON.stringify(annotations) });
    assert.equal(answer.status, 200);
    const [row] = await rows(where("thirdPartyEntities", "arrayContains", "Ada"));
    assert.deepEqual([row.id, row.isOnTopic, row.subject, row.areAIAnnotationsVerified], [id, false, "power", true]);
    const groups = await rows({ select: [count], groupBy: [{ field: "thirdPartyEntities" }] });
    assert.deepEqual(groups.map((group) => [group.thirdPartyEntities, group.count]), [[["Ada"], 1], [null, 3]]);
  });

  test("other projects have their own", async () => {
    const other = new InkeepAnalytics({ serverURL: server.serverURL, apiIntegrationKey: server.keys.other });
    assert.equal((await other.query.querySemanticThreads({})).data.total, 0);
  });

  for (const operation of ["querySemanticThreads", "exportSemanticThreadsQueryResults"]) {
    test(`typed errors of ${operation}`, async () => {
      const by = (apiIntegrationKey) => new InkeepAnalytics({ serverURL: server.serverURL, apiIntegrationKey }).query;
      await failure(by("nobody")[operation]({}), errors.Unauthorized, 401);
      await failure(by(server.keys.web)[operation]({}), errors.Forbidden, 403);
      const error = await failure(asker.query[operation](where("isClear", "gt", true)), errors.UnprocessableEntity, 422);
      assert.match(error.detail, /where/);
      await failure(asker.query[operation]({ select: [{ type: "aggregation", aggregation: "sum", field: "question" }] }), errors.UnprocessableEntity, 422);
    });
  }
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

test("every operation of the client was driven", () => {
  assert.equal(offered.size, 18);
  assert.deepEqual([...offered].filter((operation) => !driven.has(operation)), []);
});
