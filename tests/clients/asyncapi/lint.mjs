// Judges an AsyncAPI document with AsyncAPI's own parser, and its examples by its schemas: lint.mjs FILE
//
// AsyncAPI's program (scripts/lint-asyncapi --cli) asks the same parser the same. The parser looks neither at the examples of
// messages nor at what an Avro schema says, in documents of version 3, so that is done here.

import { readFile } from "node:fs/promises";
import { AvroSchemaParser } from "@asyncapi/avro-schema-parser";
import { Parser } from "@asyncapi/parser";
import Ajv from "ajv";
import addFormats from "ajv-formats";

const SEVERITIES = ["error", "warning", "information", "hint"];
// That there is a newer version of the specification is not a fault of the document.
const IGNORED = ["asyncapi-latest-version"];

const file = process.argv[2];
const avro = AvroSchemaParser();
const parser = new Parser({ schemaParsers: [avro] });
const { document, diagnostics } = await parser.parse(await readFile(file, "utf8"), { source: file });

const faults = diagnostics
  .filter((found) => !IGNORED.includes(found.code))
  .map((found) => `${SEVERITIES[found.severity]} ${found.code} at ${found.path.join(".")}: ${found.message}`);

const ajv = new Ajv({ allErrors: true, strict: false, logger: false });
addFormats(ajv);

async function checkAvro(where, { schemaFormat, "x-parser-original-payload": schema }) {
  if (!avro.getMimeTypes().includes(schemaFormat)) return;
  for (const { message } of await avro.validate({ data: schema })) faults.push(`error schema ${where}: ${message}`);
}

function check(where, schema, value) {
  // What has a format of its own was translated by the parser. Each message brings its own copy of a schema, so they cannot
  // be told apart by their names.
  const { $id, ...unnamed } = schema.schema ?? schema;
  const judge = ajv.compile(unnamed);
  if (judge(value)) return;
  for (const { instancePath, message } of judge.errors) faults.push(`error example ${where}${instancePath}: ${message}`);
}

let examples = 0;
for (const message of document?.allMessages().all() ?? []) {
  await checkAvro(message.id(), message.payload().json());
  if (message.examples().all().length === 0) faults.push(`error message ${message.id()} has no example`);
  for (const example of message.examples().all()) {
    examples += 1;
    check(`${message.id()}.headers`, message.headers().json(), example.headers());
    check(`${message.id()}.payload`, message.payload().json(), example.payload());
  }
}

for (const fault of faults) console.error(`${file}: ${fault}`);
if (document && faults.length === 0) console.log(`${file}: nothing is wrong, and ${examples} examples are as the schemas say`);
process.exitCode = document && faults.length === 0 ? 0 : 1;
