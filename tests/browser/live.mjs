// Somebody follows a topic live: what comes is shown as it comes, the newest first, and a pause ends it.
//   API, MERCHANT  where one is paid, and who

import assert from "node:assert/strict";
import { browse, go, variable } from "./browser.mjs";

const SHOWN_AT_ONCE_MAX = 200;

async function pay(count) {
  for (let paid = 0; paid < count; paid += 1) {
    const response = await fetch(`${variable("API")}/api/merchants/${variable("MERCHANT")}/payments`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ amountInMinorUnits: 1000 + paid, currency: "USD" }),
    });
    assert.equal(response.status, 201);
  }
}

browse("messages are followed live", {}, async (page) => {
  const rows = page.locator("table.list tbody tr");
  await Promise.all([
    // Followed is what comes after the stream has been opened.
    page.waitForResponse((response) => new URL(response.url()).pathname.endsWith("/tail")),
    go(page, "/topics/payment-events/messages?live=yes"),
  ]);
  assert.equal(await rows.count(), 0, "what was there before is not shown");
  await pay(2);
  await rows.nth(1).waitFor();
  assert.match(await rows.first().innerText(), /1001/, "the newest is not the first");
  assert.match(await rows.first().innerText(), /event-type/);
  await pay(SHOWN_AT_ONCE_MAX + 20);
  await rows.nth(SHOWN_AT_ONCE_MAX - 1).waitFor();
  await page.locator("table.list").getByText(String(1000 + SHOWN_AT_ONCE_MAX + 19)).first().waitFor();
  assert.equal(await rows.count(), SHOWN_AT_ONCE_MAX, "the page grows for ever");
  await page.getByRole("link", { name: "Pause" }).click();
  await page.waitForURL((url) => !url.searchParams.has("live"));
  assert.equal(await rows.count(), 50);
});
