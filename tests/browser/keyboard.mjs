// Somebody with a keyboard alone gets about quickly. That Tab reaches everything is survey.mjs's. The data must hold two
// payments, one of them pending, and a dead letter.

import assert from "node:assert/strict";
import { browseOn, go } from "./browser.mjs";

/** Presses of Tab until one stands on what one wants. */
const PRESSES_MAX = 300;

const search = (page) => page.getByRole("searchbox", { name: "Search" });
const rows = (page) => page.locator("table.list tbody tr");
const focused = (page) => page.locator(":focus");

/** Goes by Tab, as far as needed, to what has these words. */
async function tabTo(page, words) {
  for (let press = 0; press < PRESSES_MAX; press += 1) {
    await page.keyboard.press("Tab");
    const found = await page.evaluate(() => {
      const { innerText, labels, ariaLabel } = document.activeElement;
      return (labels?.[0]?.innerText || ariaLabel || innerText || "").trim();
    });
    if (found === words) return;
  }
  assert.fail(`Tab did not come to ${words} on ${page.url()}`);
}

browseOn("the first Tab leads past the navigation", {}, async (page) => {
  await go(page, "/payments");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page).innerText(), "To the content");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  const isInMain = await page.evaluate(() => document.querySelector("main").contains(document.activeElement));
  assert.ok(isInMain, "the next Tab stands before the content");
});

browseOn("/ leads to the search, in which no key is a shortcut, and Esc leaves it", {}, async (page) => {
  await go(page, "/payments");
  await page.keyboard.press("/");
  assert.ok(await search(page).evaluate((field) => field === document.activeElement));
  await page.keyboard.type("gp/?jx");
  assert.equal(await search(page).inputValue(), "gp/?jx");
  assert.equal(new URL(page.url()).pathname, "/payments");
  await page.keyboard.press("Escape");
  assert.ok(await search(page).evaluate((field) => field !== document.activeElement));
});

browseOn("? shows the keys, and Esc hides them", {}, async (page) => {
  await go(page, "/payments");
  await page.keyboard.press("?");
  const help = page.getByRole("dialog");
  await help.waitFor();
  // A key that leads away elsewhere does nothing while they are shown.
  await page.keyboard.type("ge");
  await page.keyboard.press("Escape");
  await help.waitFor({ state: "hidden" });
  assert.equal(new URL(page.url()).pathname, "/payments");
});

for (const [keys, path] of [["gp", "/payments"], ["ge", "/events"], ["gd", "/dead-letters"], ["gh", "/"]]) {
  browseOn(`${keys} goes to ${path}`, {}, async (page) => {
    await go(page, path === "/payments" ? "/merchants" : "/payments");
    await page.keyboard.type(keys);
    await page.waitForURL((url) => url.pathname === path);
  });
}

browseOn("j and k go from row to row, and Enter opens one", {}, async (page) => {
  await go(page, "/payments");
  const stands = async (row) => assert.equal(await rows(page).nth(row).locator(":focus").count(), 1, `not on row ${row}`);
  for (const [key, row] of [["j", 0], ["j", 1], ["k", 0], ["k", 0]]) {
    await page.keyboard.press(key);
    await stands(row);
  }
  const { pathname } = new URL(await focused(page).evaluate((link) => link.href));
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.pathname === pathname);
  assert.match(pathname, /^\/payments\/[0-9a-f-]{36}$/);
});

browseOn("x selects the row, and once more does not", {}, async (page) => {
  await go(page, "/dead-letters");
  const box = rows(page).first().getByRole("checkbox");
  await page.keyboard.type("jx");
  assert.ok(await box.isChecked());
  await page.keyboard.press("x");
  assert.ok(!(await box.isChecked()));
});

browseOn("e exports what is listed", {}, async (page) => {
  await go(page, "/payments?status=Pending");
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("e")]);
  assert.match(download.url(), /\/payments\.csv\?status=Pending$/);
});

browseOn("a payment is completed by keys alone", {}, async (page) => {
  await go(page, "/payments?status=Pending");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.pathname !== "/payments");
  await tabTo(page, "Complete");
  await page.keyboard.press("Enter");
  await page.getByRole("status").filter({ hasText: "Completed" }).waitFor();
});
