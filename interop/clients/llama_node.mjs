/*
 * A host of libllama in JavaScript: node-llama-cpp generates from two prompts; prints what it counted itself.
 *
 *     MODULES=FOLDER node llama_node.mjs MODEL
 */
import {pathToFileURL} from "node:url";

const {getLlama} = await import(pathToFileURL(process.env.MODULES + "/node_modules/node-llama-cpp/dist/index.js").href);
const llama = await getLlama({build: "never", gpu: false, skipDownload: true, logLevel: "disabled"});
const model = await llama.loadModel({modelPath: process.argv[2]});
const context = await model.createContext({contextSize: 1024, threads: 1, sequences: 1});
const sequence = context.getSequence();
const out = {size: context.contextSize, prompts: [], generated: []};
for (const text of ["the quick brown fox", "how is it"]) {
    await sequence.clearHistory();
    const tokens = model.tokenize(text);
    let n = 0;
    for await (const token of sequence.evaluate(tokens, {temperature: 0}))
        if (++n === 8)
            break;
    out.prompts.push(tokens.length);
    out.generated.push(n);
}
await context.dispose();
await model.dispose();
await llama.dispose();
console.log(JSON.stringify(out));
