// The OpenAI client for JavaScript, unmodified, against a server of ours: node client.mjs MODULES URL
import { createRequire } from "node:module";

const [modules, url] = process.argv.slice(2);
const { OpenAI, toFile } = createRequire(`${modules}/`)("openai");
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0 });
const found = {};

const made = await client.images.generate({ prompt: "a red square", n: 2, seed: 5, candidates: 2 });
found.generated = made.data.map((one) => one.b64_json);
const png = Buffer.from(found.generated[0], "base64");
const linked = await client.images.generate({ prompt: "a red square", n: 2, seed: 5, candidates: 2, response_format: "url" });
found.linked = Buffer.from(await (await fetch(linked.data[0].url)).arrayBuffer()).toString("base64");
found.streamed = [];
for await (const event of await client.images.generate({ prompt: "a red square", n: 2, seed: 5, candidates: 2, stream: true, partial_images: 2 })) {
  found.streamed.push([event.type, event.b64_json]);
}
found.models = (await client.models.list()).data.map((one) => one.id);
const error = async (call) => { try { await call(); } catch (wrong) { return [wrong.constructor.name, wrong.status, wrong.code, wrong.param]; } return null; };
found.wrong = await error(() => client.images.generate({ prompt: "a", n: 99 }));
found.unable = await error(async () => client.images.createVariation({ image: await toFile(png, "p.png") }));
found.masked = await error(async () => client.images.edit({ image: await toFile(png, "p.png"), prompt: "a cat" }));
found.late = await error(() => client.images.generate({ prompt: "a", candidates: 256 }, { timeout: 300 }));
console.log(JSON.stringify(found));
