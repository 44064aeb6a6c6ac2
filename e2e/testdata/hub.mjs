// Calls functions of @huggingface/hub. Standard input is {"hubUrl", "accessToken", "calls": [[function, parameters], …]};
// standard output is a list with {"value"} or {"error", "status"} for each call. A Blob becomes {"size", "sha256"}, and
// with {"slice": [from, to]} among the parameters that part of it does; a generator becomes a list.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import * as hub from "@huggingface/hub";

const { hubUrl, accessToken, calls } = JSON.parse(readFileSync(0, "utf8"));
console.debug = () => {}; // its own notes go to standard output

async function call(name, { slice, ...parameters }) {
	let value = await hub[name]({ hubUrl, accessToken, ...parameters });
	if (value?.[Symbol.asyncIterator] && !(value instanceof Blob)) {
		value = await collect(value);
	}
	if (!(value instanceof Blob)) return value;
	const part = slice ? value.slice(...slice) : value;
	const bytes = Buffer.from(await part.arrayBuffer());
	return { size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}

async function collect(generator) {
	const list = [];
	for await (const item of generator) list.push(item);
	return list;
}

const answers = [];
for (const [name, parameters] of calls) {
	try {
		answers.push({ value: (await call(name, parameters)) ?? null });
	} catch (error) {
		answers.push({ error: String(error.message), status: error.statusCode ?? 0 });
	}
}
console.log(JSON.stringify(answers));
