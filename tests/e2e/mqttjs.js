// MQTT.js tells stories: node mqttjs.js URL VERSION PREFIX STORY. Status 0 when all went as told.
// test_mqttjs.py runs it with NODE_PATH pointing to the installed modules. Over TLS the environment names
// the files: CA, and CERT and KEY for a client that proves who it is.
"use strict";

const assert = require("node:assert");
const crypto = require("node:crypto");
const fs = require("node:fs");
const mqtt = require("mqtt");

const [url, versionText, prefix, storyName] = process.argv.slice(2);
const version = Number(versionText);
const WAIT_MS = 15000;

const secrets = {};
for (const name of ["CA", "CERT", "KEY"]) {
  if (process.env[name]) secrets[name.toLowerCase()] = fs.readFileSync(process.env[name]);
}

const topic = (name) => `${prefix}/${name}`;

// A connected client whose messages are read in order by next().
async function open(name, options = {}, handleAuth = undefined) {
  const id = prefix + name;
  const how = { clientId: id, protocolVersion: version, clean: true, reconnectPeriod: 0, ...secrets, ...options };
  if (version === 3) how.protocolId = "MQIsdp";
  if (version === 5 && how.clean === false) how.properties = { sessionExpiryInterval: 600 };
  const client = mqtt.connect(url, how);
  if (handleAuth) client.handleAuth = handleAuth;
  const inbox = [];
  const waiting = [];
  client.on("message", (_topic, _payload, packet) => {
    if (waiting.length > 0) waiting.shift()(packet);
    else inbox.push(packet);
  });
  client.next = () =>
    inbox.length > 0
      ? Promise.resolve(inbox.shift())
      : inTime("a message", new Promise((resolve) => waiting.push(resolve)));
  client.inbox = inbox;
  client.connack = await inTime(
    "CONNACK",
    new Promise((resolve, reject) => {
      client.once("connect", resolve);
      client.once("error", reject);
      client.once("close", () => reject(new Error(`${id}: closed before CONNACK`)));
    }),
  );
  return client;
}

function inTime(what, promise) {
  let timer;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come in ${WAIT_MS} ms`)), WAIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function expectMessage(client, name, payload, qos, retain = false) {
  const packet = await client.next();
  assert.strictEqual(packet.topic, topic(name));
  assert.ok(Buffer.from(payload).equals(packet.payload), `payload of ${packet.payload.length} bytes`);
  assert.strictEqual(packet.qos, qos);
  assert.strictEqual(packet.retain, retain);
  return packet;
}

const stories = {
  async all_qualities_arrive_in_order() {
    const sub = await open("sub");
    const pub = await open("pub");
    for (const qos of [0, 1, 2]) {
      const granted = await sub.subscribeAsync(topic(`q${qos}`), { qos });
      assert.strictEqual(granted[0].qos, qos);
      // All at once: the client keeps its own window.
      const sent = [];
      for (let i = 0; i < 100; i++) sent.push(pub.publishAsync(topic(`q${qos}`), `${i}`, { qos }));
      await inTime("acknowledgements", Promise.all(sent));
      for (let i = 0; i < 100; i++) await expectMessage(sub, `q${qos}`, `${i}`, qos);
    }
    await sub.unsubscribeAsync(topic("q0"));
    await pub.endAsync();
    await sub.endAsync();
  },

  async retained_messages_wait() {
    const pub = await open("pub");
    await pub.publishAsync(topic("state"), "warm", { qos: 1, retain: true });
    const sub = await open("sub");
    await sub.subscribeAsync(topic("state"), { qos: 1 });
    await expectMessage(sub, "state", "warm", 1, true);
    await pub.publishAsync(topic("state"), "", { qos: 1, retain: true });
    await expectMessage(sub, "state", "", 1);
    const late = await open("late");
    await late.subscribeAsync(topic("#"), { qos: 1 });
    await pub.publishAsync(topic("mark"), "mark", { qos: 1 });
    await expectMessage(late, "mark", "mark", 1);
    for (const client of [pub, sub, late]) await client.endAsync();
  },

  async a_lost_connection_publishes_the_will() {
    const watcher = await open("watcher");
    await watcher.subscribeAsync(topic("will"), { qos: 1 });
    const will = { topic: topic("will"), payload: Buffer.from("gone"), qos: 1, retain: false };
    const doomed = await open("doomed", { will });
    doomed.stream.destroy();
    await expectMessage(watcher, "will", "gone", 1);
    await watcher.endAsync();
  },

  async a_session_is_resumed() {
    const first = await open("sub", { clean: false });
    assert.ok(!first.connack.sessionPresent);
    await first.subscribeAsync(topic("x"), { qos: 2 });
    await first.endAsync();
    const pub = await open("pub");
    for (let i = 0; i < 30; i++) await pub.publishAsync(topic("x"), `${i}`, { qos: 2 });
    const again = await open("sub", { clean: false });
    assert.ok(version === 3 || again.connack.sessionPresent);
    for (let i = 0; i < 30; i++) await expectMessage(again, "x", `${i}`, 2);
    await pub.endAsync();
    await again.endAsync();
  },

  async members_share() {
    const filter = `$share/${prefix}g/${topic("work")}`;
    const members = [await open("m0"), await open("m1"), await open("m2")];
    for (const member of members) await member.subscribeAsync(filter, { qos: 1 });
    const pub = await open("pub");
    for (let i = 0; i < 60; i++) await pub.publishAsync(topic("work"), `${i}`, { qos: 1 });
    const until = Date.now() + WAIT_MS;
    const count = () => members.reduce((sum, member) => sum + member.inbox.length, 0);
    while (count() < 60 && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
    const got = members.flatMap((member) => member.inbox.map((packet) => Number(packet.payload.toString())));
    got.sort((a, b) => a - b);
    assert.deepStrictEqual(got, [...Array(60).keys()]);
    for (const member of members) assert.ok(member.inbox.length > 0, "a member got nothing");
    for (const client of [pub, ...members]) await client.endAsync();
  },

  async payloads_of_every_size_arrive_whole() {
    const sub = await open("sub");
    const pub = await open("pub");
    await sub.subscribeAsync(topic("x"), { qos: 1 });
    for (const size of [0, 1, 125, 126, 127, 2047, 2048, 65535, 65536, 300007, 5000011]) {
      const payload = Buffer.alloc(size);
      for (let at = 0; at < size; at++) payload[at] = (at * 31 + size) & 255;
      await inTime(`PUBACK of ${size} bytes`, pub.publishAsync(topic("x"), payload, { qos: 1 }));
      await expectMessage(sub, "x", payload, 1);
    }
    await pub.endAsync();
    await sub.endAsync();
  },

  async payloads_of_64_mib_arrive_whole() {
    const sub = await open("sub");
    const pub = await open("pub");
    const payload = Buffer.alloc(64 << 20, "0123456789abcdef!");
    for (const qos of [0, 1, 2]) {
      await sub.subscribeAsync(topic(`big${qos}`), { qos });
      await pub.publishAsync(topic(`big${qos}`), payload, { qos });
      await expectMessage(sub, `big${qos}`, payload, qos);
    }
    await pub.endAsync();
    await sub.endAsync();
  },

  // Version 5: properties, topic aliases that the library assigns by itself, subscription ids.
  async properties_and_aliases_travel() {
    const sub = await open("sub", { properties: { topicAliasMaximum: 5 } });
    const pub = await open("pub", { autoAssignTopicAlias: true, autoUseTopicAlias: true });
    const id = { subscriptionIdentifier: 77 };
    await sub.subscribeAsync(topic("#"), { qos: 1, properties: id });
    for (let i = 0; i < 40; i++) {
      const properties = {
        contentType: "text/plain",
        correlationData: Buffer.from([0, 1, 2, i]),
        responseTopic: topic("answer"),
        userProperties: { colour: "green", shade: ["dark", "deep"] },
        messageExpiryInterval: 600,
        payloadFormatIndicator: true,
      };
      await pub.publishAsync(topic(`t${i % 8}`), `${i}`, { qos: 1, properties });
    }
    for (let i = 0; i < 40; i++) {
      const packet = await sub.next();
      const got = packet.properties;
      // With an alias the library leaves finding the name to whoever reads the packet's event.
      assert.strictEqual(packet.payload.toString(), `${i}`);
      assert.strictEqual(got.contentType, "text/plain");
      assert.ok(got.correlationData.equals(Buffer.from([0, 1, 2, i])));
      assert.strictEqual(got.responseTopic, topic("answer"));
      assert.strictEqual(got.userProperties.colour, "green");
      assert.deepStrictEqual([].concat(got.userProperties.shade), ["dark", "deep"]);
      assert.ok(got.messageExpiryInterval > 0 && got.messageExpiryInterval <= 600);
      assert.strictEqual(got.subscriptionIdentifier, 77);
    }
    await pub.endAsync();
    await sub.endAsync();
  },

  // Version 5: SCRAM-SHA-256 (RFC 5802, RFC 7677) as enhanced authentication, for USER and PASSWORD.
  async scram_proves_both_sides() {
    const { USER: user, PASSWORD: password } = process.env;
    const hmac = (key, text) => crypto.createHmac("sha256", key).update(text).digest();
    const nonce = crypto.randomBytes(18).toString("base64");
    const bare = `n=${user},r=${nonce}`;
    let serverKnows;
    const answer = (packet, callback) => {
      const challenge = packet.properties.authenticationData.toString();
      const [, theirs, salt, count] = challenge.match(/^r=([^,]+),s=([^,]+),i=(\d+)$/);
      assert.ok(theirs.startsWith(nonce) && theirs.length > nonce.length);
      const salted = crypto.pbkdf2Sync(password, Buffer.from(salt, "base64"), Number(count), 32, "sha256");
      const key = hmac(salted, "Client Key");
      const stored = crypto.createHash("sha256").update(key).digest();
      const unproven = `c=biws,r=${theirs}`;
      const all = `${bare},${challenge},${unproven}`;
      const proof = hmac(stored, all).map((byte, at) => byte ^ key[at]);
      serverKnows = `v=${hmac(hmac(salted, "Server Key"), all).toString("base64")}`;
      const properties = {
        authenticationMethod: "SCRAM-SHA-256",
        authenticationData: Buffer.from(`${unproven},p=${proof.toString("base64")}`),
      };
      callback(null, { cmd: "auth", reasonCode: 0x18, properties });
    };
    const properties = {
      authenticationMethod: "SCRAM-SHA-256",
      authenticationData: Buffer.from(`n,,${bare}`),
    };
    const client = await open("scram", { properties }, answer);
    const final = client.connack.properties.authenticationData.toString();
    assert.strictEqual(final, serverKnows);
    await client.subscribeAsync(topic("x"), { qos: 1 });
    await client.publishAsync(topic("x"), "proven", { qos: 1 });
    await expectMessage(client, "x", "proven", 1);
    await client.endAsync();
  },

  async it_reconnects_by_itself() {
    const client = await open("sub", { clean: false, reconnectPeriod: 50 });
    await client.subscribeAsync(topic("x"), { qos: 1 });
    const again = inTime("a second CONNACK", new Promise((resolve) => client.once("connect", resolve)));
    client.stream.destroy();
    await again;
    const pub = await open("pub");
    await pub.publishAsync(topic("x"), "still here", { qos: 1 });
    await expectMessage(client, "x", "still here", 1);
    await pub.endAsync();
    await client.endAsync();
  },
};

async function main() {
  const story = stories[storyName];
  if (story === undefined) throw new Error(`no story ${storyName}`);
  await story();
}

main().then(
  () => process.exit(0),
  (error) => {
    console.log(error.stack || error);
    process.exit(1);
  },
);
