// A real Chromium for the tests of the console. It promises that no test passes over what a browser complains about:
// a script or a style that the Content-Security-Policy forbids, an error in a script, a file that is missing, a request to
// anywhere but the server under test.
//
//   BASE_URL           the console, such as http://127.0.0.1:8080
//   FINTECH_CHROMIUM   the browser, and
//   FINTECH_BROWSER    the folder of playwright-core and axe-core, both from scripts/browser
//   OPERATOR, PASSWORD who signs in first; nobody, if they are not set
//   KEPT               where the picture and the page of a test that failed are left; nowhere, if it is not set

import { mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename } from "node:path";
import { after, test } from "node:test";

/** The modules lie beside the build, not beside these files. */
export const require = createRequire(`${variable("FINTECH_BROWSER")}/package.json`);
const { chromium } = require("playwright-core");

/** How long a page may take for anything. Far above what it should take: others build and test on the same cores. */
export const PATIENCE_MS = 30_000;
/** Of one test, which sees many pages. */
const TEST_MS = 300_000;
/** Of a page that was not expected. */
const SAID_MAX = 300;
const VIEWPORT = { width: 1280, height: 800 };
/** What Chromium does by itself: it looks up nothing, tells nobody, and needs no more shared memory than a container has. */
const FLAGS = [
  "--no-sandbox",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-default-apps",
  "--disable-dev-shm-usage",
  "--disable-domain-reliability",
  "--disable-gpu",
  "--disable-quic",
  "--disable-sync",
  "--no-first-run",
  // The same pictures on every machine.
  "--font-render-hinting=none",
  "--force-color-profile=srgb",
  "--hide-scrollbars",
];

export function variable(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: see tests/it/support/browser.rs, which runs these tests`);
  return value;
}

/** One a file of tests, begun when it is first needed. */
let browser;
/** What a browser keeps of who is signed in; a sign-in costs a hash that is meant to be slow, so there is one a file. */
let signedIn;

export function launch() {
  browser ??= chromium.launch({ executablePath: variable("FINTECH_CHROMIUM"), args: FLAGS, timeout: PATIENCE_MS });
  return browser;
}

export async function close() {
  await (await browser)?.close();
  browser = undefined;
}

/** A context of one's own: nothing is shared with another test but who is signed in. */
export async function context(base, options = {}) {
  const made = await (await launch()).newContext({
    baseURL: base,
    viewport: VIEWPORT,
    locale: "en-GB",
    timezoneId: "UTC",
    reducedMotion: "reduce",
    serviceWorkers: "block",
    ...options,
  });
  made.setDefaultTimeout(PATIENCE_MS);
  return made;
}

/** Writes down what the pages of a context complain about. */
export function watch(watched, base) {
  const complaints = [];
  const home = new URL(base).origin;
  const complain = (page, what) => complaints.push(`${page?.url() ?? "a page"}: ${what}`);
  watched.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    const isElsewhere = /^https?:|^wss?:/.test(protocol) && origin !== home;
    if (isElsewhere) complaints.push(`${request.url()} was asked for, which is elsewhere`);
  });
  watched.on("console", (message) => {
    if (message.type() === "error") complain(message.page(), `${message.text()} (${message.location().url})`);
  });
  watched.on("weberror", (error) => complain(error.page(), error.error().message));
  return complaints;
}

/** Fills in the form to sign in, as a person does, and comes to where it leads. */
export async function fillIn(page, name, password) {
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password").fill(password);
  const led = page.waitForEvent("framenavigated");
  await page.getByRole("button", { name: "Sign in" }).click();
  await led;
}

/** Signs in who the test says, and gives what a browser keeps of it. */
export async function signIn(base, name, password) {
  const made = await context(base);
  const page = await made.newPage();
  await page.goto("/sign-in");
  await fillIn(page, name, password);
  await page.waitForURL((url) => url.pathname !== "/sign-in");
  const state = await made.storageState();
  await made.close();
  return state;
}

/** For the options of a visit: of somebody who has not signed in. */
export const STRANGER = { storageState: { cookies: [], origins: [] } };

/** A window of one's own, and what it complains about. */
async function openWindow(base, options) {
  if (process.env.OPERATOR && !options.storageState) signedIn ??= await signIn(base, process.env.OPERATOR, variable("PASSWORD"));
  const made = await context(base, { storageState: signedIn, ...options });
  return { made, complaints: watch(made, base), page: await made.newPage() };
}

async function look({ page, complaints }, task) {
  try {
    await task(page, complaints);
    const left = complaints.splice(0);
    if (left.length) throw new Error(`the browser complained:\n  ${left.join("\n  ")}`);
  } catch (error) {
    await keep(page, error);
    throw error;
  }
}

/** A visit to a server. The task gets the page and the complaints so far, and may take out those that it expects. */
export async function visit(base, options, task) {
  const opened = await openWindow(base, options);
  try {
    await look(opened, task);
  } finally {
    await opened.made.close();
  }
}

/** Takes out the complaints that a test expects, such as the browser's own line about an answer of 404. */
export function expected(complaints, pattern) {
  complaints.splice(0, complaints.length, ...complaints.filter((complaint) => !pattern.test(complaint)));
}

/** A test that visits the server under test; options are those of a browser context of Playwright. */
export function browse(name, options, task) {
  test(name, { timeout: TEST_MS }, (t) =>
    visit(variable("BASE_URL"), options, (page, complaints) => task(page, t, complaints)),
  );
}

/** Windows that tests go on with, by their options. */
const windows = new Map();

/**
 * As `browse`, but the tests of a file with the same options go on in one window: one that is opened anew for each page costs
 * more than most pages do. For tests that begin with going somewhere, and leave nothing behind.
 */
export function browseOn(name, options, task) {
  test(name, { timeout: TEST_MS }, async (t) => {
    const key = JSON.stringify(options);
    const opened = windows.get(key) ?? (await openWindow(variable("BASE_URL"), options));
    // Kept only when all was well.
    windows.delete(key);
    try {
      await look(opened, (page, complaints) => task(page, t, complaints));
      windows.set(key, opened);
    } finally {
      if (!windows.has(key)) await opened.made.close();
    }
  });
}

after(close);

/** Goes to a page that must be there; gives the answer. */
export async function go(page, path) {
  const answer = await page.goto(path, { waitUntil: "load" });
  if (answer.status() !== 200) {
    const said = await page.locator("body").innerText();
    throw new Error(`${path} answered ${answer.status()}: ${said.slice(0, SAID_MAX)}`);
  }
  return answer;
}

/** Leaves what there was to see, so that a failure in a run that nobody watched can be understood. */
async function keep(page, error) {
  const folder = process.env.KEPT;
  if (!folder || page.isClosed()) return;
  // The same name in every run, so that what is kept does not grow.
  const path = new URL(page.url()).pathname.replace(/[^a-z0-9]+/gi, "-").slice(0, 60);
  const name = basename(process.argv[1], ".mjs") + path;
  try {
    await mkdir(folder, { recursive: true });
    await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
    await writeFile(`${folder}/${name}.html`, await page.content());
    error.message += `\n(what there was to see is in ${folder}/${name}.png and .html)`;
  } catch (also) {
    error.message += `\n(and what there was to see could not be kept: ${also.message})`;
  }
}
