// The first users' session, in the console: a merchant is created, and a payment, which is completed; its two events are
// looked at with their headers, then the consumers' lag; a consumer breaks, and its dead letter is seen. It works with
// JavaScript and, where one signs in, without it, too. The server publishes to Kafka, and its consumer `probe` cannot handle a payment whose description holds
// POISON. What comes next, when the consumer is mended, is redrive.mjs.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { PATIENCE_MS, browse, go, variable } from "./browser.mjs";
import { firstLink } from "./pages.mjs";

const BETWEEN_LOOKS_MS = 200;

/** Loads the page again until it shows something: what consumers and the relay do comes a moment later. */
async function untilShown(page, locator, what) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await locator.count())) {
    assert.ok(Date.now() < deadline, `${page.url()} did not come to show ${what}`);
    await page.waitForTimeout(BETWEEN_LOOKS_MS);
    await page.reload();
  }
}

/** Opens a form behind its summary, fills it in, and sends it. */
async function send(page, summary, fields, button) {
  const form = page.locator("details").filter({ has: page.locator("summary", { hasText: summary }) });
  await form.locator("summary").click();
  for (const [label, value] of Object.entries(fields)) await form.getByLabel(label).fill(value);
  await form.getByRole("button", { name: button, exact: true }).click();
}

const said = (page, words) => page.getByRole("status").filter({ hasText: words }).waitFor();

async function createMerchant(page) {
  const name = `Walk ${randomUUID().slice(0, 8)}`;
  await go(page, "/merchants");
  await send(page, "New merchant", { Name: name, Email: `${randomUUID()}@example.com` }, "Create");
  await said(page, "Created");
  assert.match(await page.title(), new RegExp(name));
  return new URL(page.url()).pathname;
}

/** In USD, completed unless it is left pending; gives its page. */
async function createPayment(page, merchant, description) {
  await go(page, merchant);
  await send(page, "New payment", { "Amount in minor units": "5000", Currency: "USD", Description: description }, "Create");
  await said(page, "Created");
  return new URL(page.url()).pathname;
}

async function complete(page) {
  await page.getByRole("button", { name: "Complete" }).click();
  await said(page, "Completed");
  assert.match(await page.locator("h1").innerText(), /Completed/);
  // One timeline of both events, with where they lie.
  const timeline = await page.locator("ol.timeline").innerText();
  for (const word of ["PaymentCreated", "PaymentCompleted", "position"]) assert.match(timeline, new RegExp(word));
}

/** Topics → payment-events → Messages: two messages, with their headers. */
async function seeMessages(page, merchant) {
  const id = merchant.split("/").pop();
  await go(page, "/topics");
  await page.goto(await firstLink(page, "/topics/{name}", "payment-events"));
  await page.locator("main").getByRole("link", { name: "Messages" }).first().click();
  await page.getByLabel("Key").fill(id);
  await page.getByLabel("Key").press("Enter");
  const messages = page.locator("table.list tbody tr").filter({ hasText: id.slice(0, 8) });
  await untilShown(page, messages.nth(1), "two messages");
  assert.equal(await messages.count(), 2);
  const shown = await page.locator("main").innerText();
  for (const word of ["PaymentCreated", "PaymentCompleted", "event-type", "ce_type", "chain-hash"]) {
    assert.ok(shown.includes(word), `no ${word} in ${shown}`);
  }
}

async function seeLag(page) {
  await go(page, "/consumers");
  const row = page.locator("table.list tbody tr").filter({ hasText: "payment_log" });
  await untilShown(page, row.filter({ has: page.getByRole("cell", { name: "0", exact: true }) }), "a consumer without lag");
}

async function seeDeadLetter(page, payment) {
  await go(page, payment);
  const link = page.getByRole("row").filter({ hasText: "probe" }).locator("a[href^='/dead-letters/']").first();
  await untilShown(page, link, "a dead letter");
  await link.click();
  const letter = await page.locator("main").innerText();
  assert.match(letter, /probe/);
  assert.ok(letter.includes(variable("POISON")), letter);
  await page.goto("/dead-letters");
  assert.ok(await firstLink(page, "/dead-letters/{id}"), "it is not in the list");
}

for (const javaScriptEnabled of process.env.OPERATOR ? [true, false] : [true]) {
  const how = javaScriptEnabled ? "with" : "without";
  browse(`the first users' session ${how} JavaScript`, { javaScriptEnabled }, async (page) => {
    const merchant = await createMerchant(page);
    await createPayment(page, merchant, "a good one");
    await complete(page);
    await seeMessages(page, merchant);
    await seeLag(page);
    const poisoned = await createPayment(page, merchant, variable("POISON"));
    await seeDeadLetter(page, poisoned);
  });
}
