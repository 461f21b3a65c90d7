// That the tests of the console can fail: pages with one known fault each, and each fault must be found; a page without one
// must pass. A browser that did not load a page, or an axe that was not there, would else look like a console in order.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { after, test } from "node:test";
import { visit, go } from "./browser.mjs";
import { walkByTab } from "./focus.mjs";
import { injected, judge } from "./judge.mjs";
import { firstLink } from "./pages.mjs";

/** As strict as the console's own, so what the tools bring into a page is shown to work under it. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
  "base-uri 'none'; frame-ancestors 'none'";
const ID = "019a0000-0000-7000-8000-000000000001";

const WELL = `<a href="#main">To the content</a>
<nav aria-label="Pages"><a href="/well" aria-current="page">Payments</a></nav>
<main id="main" tabindex="-1"><h1>Payments</h1>
<form><label for="q">Search</label> <input id="q" name="q"> <button>Find</button></form>
<form><fieldset><legend>Zone</legend><label><input type="radio" name="zone" value="utc"> UTC</label>
<label><input type="radio" name="zone" value="local" checked> local</label></fieldset></form>
<details><summary>More</summary><a href="/hidden">not reached while it is closed</a></details>
<table><caption>Newest</caption><thead><tr><th scope="col">Id</th></tr></thead>
<tbody><tr><td><a href="/payments/export">all</a> <a href="/payments/${ID}">${ID}</a></td></tr></tbody></table></main>`;

/** What stands in the page, beside what is well. */
const PAGES = {
  "/well": "",
  "/inline-script": "<script>document.title = 'run'</script>",
  "/inline-style": "<p style='color: red'>red</p>",
  "/throws": "<script src='/throws.js'></script>",
  "/lacks-a-file": "<link rel='stylesheet' href='/nowhere.css'>",
  "/no-label": "<input name='unlabelled'>",
  "/no-contrast": "<p class='pale'>Hardly to be read</p>",
  "/no-contrast-in-the-dark": "<p class='pale-in-the-dark'>Hardly to be read</p>",
  "/no-label-if-narrow": "<input class='narrow' name='unlabelled'>",
  "/too-wide": "<p class='wide'>wide</p>",
  "/cut-off": "<main class='column' aria-label='Another'><p class='wide'>wide</p></main>",
  "/too-wide-if-narrow": "<p class='rather-wide'>wide</p>",
  "/focus-unseen": "<button class='unseen'>Where</button>",
  "/focus-kept": "<button id='kept'>Kept</button><button>Never reached</button><script src='/keeps.js'></script>",
  "/focus-given": "<label>Name <input name='name' autofocus></label>",
  "/focus-out-of-order": "<button tabindex='1'>First by number</button>",
};

const FILES = {
  "/icon.svg": ["image/svg+xml", '<svg xmlns="http://www.w3.org/2000/svg"/>'],
  "/style.css": [
    "text/css",
    ".pale { color: #ccc; background: #fff } .wide { width: 5000px } .unseen:focus { outline: none }" +
      ".column { overflow-x: auto } .rather-wide { width: 500px } .narrow { display: none } @media (max-width: 600px) { .narrow { display: inline } }" +
      "@media (prefers-color-scheme: dark) { .pale-in-the-dark { color: #ccc; background: #fff } }",
  ],
  "/throws.js": ["text/javascript", "throw new Error('thrown on purpose')"],
  "/keeps.js": [
    "text/javascript",
    "kept.addEventListener('keydown', (event) => event.key === 'Tab' && event.preventDefault())",
  ],
};

const document = (body) => `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Payments</title>
<link rel="icon" href="/icon.svg"><link rel="stylesheet" href="/style.css"></head><body>${WELL}${body}</body></html>`;

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname in PAGES) {
    const headers = { "content-type": "text/html", "content-security-policy": POLICY };
    response.writeHead(200, headers).end(document(PAGES[pathname]));
  } else if (pathname === "/elsewhere") {
    // Without a policy: nothing but the test forbids it.
    const other = `http://localhost:${server.address().port}/style.css`;
    response.writeHead(200, { "content-type": "text/html" }).end(document(`<link rel="stylesheet" href="${other}">`));
  } else if (pathname === "/not-escaped") {
    response.writeHead(200, { "content-type": "text/html" }).end(document("<i class=injected></i><script>injected=1</script>"));
  } else if (pathname in FILES) {
    response.writeHead(200, { "content-type": FILES[pathname][0] }).end(FILES[pathname][1]);
  } else {
    response.writeHead(404, { "content-type": "text/plain" }).end("There is nothing here.");
  }
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
after(() => server.close());
const base = `http://127.0.0.1:${server.address().port}`;

async function judged(path) {
  let found;
  await visit(base, {}, async (page) => {
    await go(page, path);
    found = await judge(page);
  });
  return found.faults.join("\n");
}

async function walked(path) {
  let found;
  await visit(base, {}, async (page) => {
    await go(page, path);
    found = await walkByTab(page);
  });
  return found;
}

test("a page in order passes", async () => {
  assert.equal(await judged("/well"), "");
  assert.deepEqual(await walked("/well"), { faults: [], reached: 8 });
  assert.deepEqual(await walked("/focus-given"), { faults: [], reached: 9 });
});

for (const [path, complaint] of [
  ["/inline-script", /inline script/],
  ["/inline-style", /inline style/],
  ["/throws", /thrown on purpose/],
  ["/lacks-a-file", /404/],
  ["/elsewhere", /elsewhere/],
]) {
  test(`the browser's complaint about ${path} fails a test`, async () => {
    await assert.rejects(visit(base, {}, (page) => go(page, path)), complaint);
  });
}

test("a page that is not there fails a test", async () => {
  await assert.rejects(visit(base, {}, (page) => go(page, "/nowhere")), /404/);
});

for (const [path, fault] of [
  ["/no-label", /^light, narrow: critical label/],
  ["/no-contrast", /^light, dark: serious color-contrast/],
  ["/no-contrast-in-the-dark", /^dark: serious color-contrast/],
  ["/no-label-if-narrow", /^narrow: critical label/],
  ["/too-wide", /^light, dark: .* pixels wide/],
  ["/cut-off", /^light, dark: what the page is about is/],
  ["/too-wide-if-narrow", /^narrow: .* pixels wide/],
]) {
  test(`${path} is found`, async () => assert.match(await judged(path), fault));
}

for (const [path, fault] of [
  ["/focus-unseen", /cannot be seen on <button> "Where"/],
  ["/focus-kept", /does not reach <button> "Never reached"/],
  ["/focus-out-of-order", /out of order/],
]) {
  test(`${path} is found`, async () => assert.match((await walked(path)).faults.join("\n"), fault));
}

test("a stored text that is not escaped is found", async () => {
  await visit(base, {}, async (page) => {
    await go(page, "/well");
    assert.deepEqual(await injected(page), { elements: 0, ran: false });
    await go(page, "/not-escaped");
    assert.deepEqual(await injected(page), { elements: 1, ran: true });
  });
});

test("a link is found by the route that it leads to", async () => {
  await visit(base, {}, async (page) => {
    await go(page, "/well");
    assert.equal(await firstLink(page, "/payments/{id}"), `/payments/${ID}`);
    assert.equal(await firstLink(page, "/payments/{id}", "another"), undefined);
    assert.equal(await firstLink(page, "/merchants/{id}"), undefined);
  });
});

test("a page is browsed without JavaScript, and looked into all the same", async () => {
  await visit(base, { javaScriptEnabled: false }, async (page) => {
    // Its script does not run, so it throws nothing.
    await go(page, "/throws");
    assert.equal(await firstLink(page, "/payments/{id}"), `/payments/${ID}`);
  });
});

test("a complaint fails the test that goes on in a window, and the next one has a new window", async () => {
  // By itself, as the tests of a file are run.
  const file = `import { browseOn, go } from ${JSON.stringify(new URL("./browser.mjs", import.meta.url).href)};
for (const path of ["/well", "/throws", "/well"]) browseOn(path, {}, (page) => go(page, path));`;
  const told = await new Promise((ended) => {
    const env = { ...process.env, BASE_URL: base, NODE_TEST_CONTEXT: "" };
    execFile("node", ["--test-reporter=tap", "--input-type=module", "--eval", file], { env }, (_, stdout) => ended(stdout));
  });
  assert.deepEqual(told.match(/^(not )?ok/gm), ["ok", "not ok", "ok"], told);
});
