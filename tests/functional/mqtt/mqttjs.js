// Drives mqtt.js against a gateway: node mqttjs.js MODULE_DIRECTORY URL VERSION. Prints "ok NAME" for what holds.
"use strict";

const assert = require("assert");
const { once } = require("events");
const mqtt = require(process.argv[2] + "/mqtt");

const [url, version] = [process.argv[3], Number(process.argv[4])];
const run = url.replace(/\W/g, "") + version;
let made = 0;

const ok = (name) => console.log("ok " + name);

async function connect(options = {}) {
	const client = await mqtt.connectAsync(url, {
		protocolVersion: version, clientId: `${run}-${made++}`, reconnectPeriod: 50, connectTimeout: 10000, ...options });
	client.got = [];
	client.waiting = [];
	client.on("message", (topic, payload, packet) => {
		const waiter = client.waiting.shift();
		if (waiter)
			waiter(packet);
		else
			client.got.push(packet);
	});
	client.take = () => client.got.length ? Promise.resolve(client.got.shift())
		: new Promise((resolve) => client.waiting.push(resolve));
	return client;
}

async function everyQos() {
	const client = await connect();
	const granted = await client.subscribeAsync({ [`${run}/a/#`]: { qos: 2 }, [`${run}/b/+`]: { qos: 1 } });
	assert.deepStrictEqual(granted.map((g) => g.qos), [2, 1]);
	for (const qos of [0, 1, 2])
		for (const payload of ["", "grüße", "x".repeat(100000)]) {
			await client.publishAsync(`${run}/a/t`, payload, { qos });
			const packet = await client.take();
			assert.strictEqual(packet.payload.toString(), payload);
			assert.strictEqual(packet.qos, qos);
		}
	await client.unsubscribeAsync([`${run}/a/#`]);
	await client.publishAsync(`${run}/a/t`, "unheard", { qos: 1 });
	await client.publishAsync(`${run}/b/t`, "heard", { qos: 2 });
	const packet = await client.take();
	assert.deepStrictEqual([packet.payload.toString(), packet.qos], ["heard", 1]);
	await client.endAsync();
	ok("every QoS");
}

async function retainedAndWill() {
	const client = await connect();
	await client.publishAsync(`${run}/r`, "kept", { qos: 1, retain: true });
	await client.subscribeAsync(`${run}/r`, { qos: 1 });
	const kept = await client.take();
	assert.deepStrictEqual([kept.payload.toString(), kept.retain], ["kept", true]);
	await client.subscribeAsync(`${run}/w`, { qos: 1 });
	const mortal = await connect({ reconnectPeriod: 0, will: { topic: `${run}/w`, payload: Buffer.from("gone"), qos: 1, retain: false } });
	mortal.stream.destroy();
	assert.strictEqual((await client.take()).payload.toString(), "gone");
	await mortal.endAsync(true);
	await client.endAsync();
	ok("retained and will");
}

async function sessions() {
	const keep = version === 5 ? { clean: false, properties: { sessionExpiryInterval: 60 } } : { clean: false };
	const client = await connect(keep), other = await connect();
	await client.subscribeAsync(`${run}/s`, { qos: 2 });
	const order = [];
	for (let n = 0; n < 300; n += 15) {
		const batch = Array.from({ length: 15 }, (_, i) => other.publishAsync(`${run}/s`, String(n + i), { qos: 2 }));
		if (n % 75 === 60) {
			order.push(Number((await client.take()).payload));
			const back = once(client, "connect");
			client.stream.destroy();
			const [connack] = await back;
			assert.strictEqual(connack.sessionPresent, true);
		}
		await Promise.all(batch);
	}
	while (order.length < 300)
		order.push(Number((await client.take()).payload));
	assert.deepStrictEqual(order, Array.from({ length: 300 }, (_, n) => n));
	await client.endAsync();
	await other.endAsync();
	ok("sessions");
}

// mqtt.js does not count what it has in flight: a burst at once is what the default limits are for.
async function burst() {
	const client = await connect(), times = 500;
	let ends = 0;
	client.on("close", () => ends++);
	await client.subscribeAsync(`${run}/burst`, { qos: 2 });
	for (const qos of [1, 2]) {
		const sent = Array.from({ length: times }, (_, n) => client.publishAsync(`${run}/burst`, String(n), { qos }));
		await Promise.all(sent);
		for (let n = 0; n < times; n++)
			assert.strictEqual((await client.take()).payload.toString(), String(n));
	}
	assert.strictEqual(ends, 0);
	await client.endAsync();
	ok("burst");
}

async function properties() {
	const client = await connect({ properties: { topicAliasMaximum: 10, receiveMaximum: 10, requestProblemInformation: true } });
	const sent = { payloadFormatIndicator: true, messageExpiryInterval: 100, contentType: "application/json",
		responseTopic: `${run}/answer`, correlationData: Buffer.from([0, 255]),
		userProperties: { one: "1", many: ["a", "b"] } };
	await client.subscribeAsync(`${run}/p`, { qos: 1, properties: { subscriptionIdentifier: 77, userProperties: { s: "t" } } });
	for (let n = 0; n < 3; n++) { // the gateway uses an alias from the second on
		await client.publishAsync(`${run}/p`, "{}", { qos: 1, properties: sent });
		const packet = await client.take();
		assert.strictEqual(packet.topic || `${run}/p`, `${run}/p`);
		const { subscriptionIdentifier, topicAlias, messageExpiryInterval, userProperties, ...rest } = packet.properties;
		const { messageExpiryInterval: life, userProperties: user, ...expected } = sent;
		assert.deepStrictEqual(rest, expected);
		assert.deepStrictEqual({ ...userProperties }, user);
		assert.strictEqual([].concat(subscriptionIdentifier)[0], 77);
		assert(messageExpiryInterval <= life && messageExpiryInterval >= life - 2);
	}
	await client.endAsync();
	ok("properties");
}

async function options() {
	const client = await connect();
	await client.publishAsync(`${run}/o`, "kept", { qos: 1, retain: true });
	await client.subscribeAsync(`${run}/o`, { qos: 1, nl: true, rap: true, rh: 2 });
	await client.publishAsync(`${run}/o`, "own", { qos: 1 });
	const other = await connect({ autoUseTopicAlias: true, autoAssignTopicAlias: true });
	for (let n = 0; n < 3; n++) {
		await other.publishAsync(`${run}/o`, String(n), { qos: 1, retain: true });
		const packet = await client.take();
		assert.deepStrictEqual([packet.payload.toString(), packet.retain], [String(n), true]);
	}
	const puback = new Promise((resolve) => client.on("packetreceive", (p) => p.cmd === "puback" && resolve(p)));
	await client.publishAsync(`${run}/nobody`, "", { qos: 1 });
	assert.strictEqual((await puback).reasonCode, 0x10);
	const bye = once(client, "disconnect");
	await connect({ clientId: client.options.clientId, reconnectPeriod: 0 });
	client.options.reconnectPeriod = 0;
	assert.strictEqual((await bye)[0].reasonCode, 0x8e);
	await other.endAsync();
	ok("options and reasons");
}

(async () => {
	await everyQos();
	await retainedAndWill();
	await sessions();
	await burst();
	if (version === 5) {
		await properties();
		await options();
	}
	console.log("done");
	process.exit(0);
})().catch((error) => {
	console.error(error);
	process.exit(1);
});
