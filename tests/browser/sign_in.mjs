// Who comes into the console, in a real browser: signing in and out, a wrong password, a session that ends, and what slows
// down whoever guesses.
//   OPERATOR  an admin, and OTHER, LOCKED operators who look; all have the same PASSWORD. One more failure locks LOCKED.
// The tests are in order: the failures of this address are counted.

import assert from "node:assert/strict";
import { STRANGER, browse, expected, fillIn, go, variable } from "./browser.mjs";

const OTHER = variable("OTHER");
const WRONG = "wrong wrong wrong";
const NEW = "another horse battery";
/** Failures that are answered by a refusal, before the address is told to wait; far more than it takes. */
const GUESSES_MAX = 40;

const isAt = (page, path) => page.waitForURL((url) => url.pathname + url.search === path);
const isAtDoor = (page) => page.waitForURL((url) => url.pathname === "/sign-in");
const refusal = (page) => page.getByRole("alert");

/** Nothing is shown to a stranger but the form. */
async function isDoor(page) {
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.equal(await page.locator("nav, table, [href='/payments'], form[action='/sign-out']").count(), 0, await page.content());
}

/** Fills in what is refused. */
async function refused(page, name, password, complaints) {
  await fillIn(page, name, password);
  await refusal(page).waitFor();
  expected(complaints, /status of 401/);
}

for (const javaScriptEnabled of [true, false]) {
  const how = javaScriptEnabled ? "with" : "without";
  browse(`one signs in, comes to the page that was asked for, and signs out, ${how} JavaScript`,
    { ...STRANGER, javaScriptEnabled }, async (page) => {
      await go(page, "/payments?status=Failed");
      await isAtDoor(page);
      await isDoor(page);
      await fillIn(page, OTHER, variable("PASSWORD"));
      await isAt(page, "/payments?status=Failed");
      assert.match(await page.locator("header").innerText(), new RegExp(`operator ${OTHER}`));
      assert.equal(await page.locator("aside.banner").count(), 0, "the banner of open access is shown");
      await page.getByRole("button", { name: "Sign out" }).click();
      await isAtDoor(page);
      await isDoor(page);
      await page.goBack();
      await isAtDoor(page);
      await isDoor(page);
    });
}

browse("a wrong password shows why and nothing else, as a name that nobody has does", STRANGER, async (page, _, complaints) => {
  await go(page, "/merchants");
  await isAtDoor(page);
  await refused(page, OTHER, WRONG, complaints);
  const said = await refusal(page).innerText();
  assert.match(said, /name or the password is wrong/);
  await isDoor(page);
  assert.ok(!(await page.content()).includes(WRONG), "what was typed is shown again");
  await refused(page, "nobody", WRONG, complaints);
  assert.equal(await refusal(page).innerText(), said);
  // What was asked for is not forgotten.
  await fillIn(page, OTHER, variable("PASSWORD"));
  await isAt(page, "/merchants");
});

browse("one signs in by keys alone", STRANGER, async (page) => {
  await go(page, "/sign-in");
  // The name has the focus.
  await page.keyboard.type(OTHER);
  await page.keyboard.press("Tab");
  await page.keyboard.type(variable("PASSWORD"));
  await page.keyboard.press("Enter");
  await isAt(page, "/");
});

browse("a session that ends leads back to the sign-in, and from there on", STRANGER, async (page, _, complaints) => {
  await go(page, "/sign-in");
  await fillIn(page, OTHER, variable("PASSWORD"));
  await isAt(page, "/");
  const admin = await page.context().browser().newContext({ baseURL: variable("BASE_URL") });
  const other = await admin.newPage();
  await other.goto("/operators");
  await fillIn(other, variable("OPERATOR"), variable("PASSWORD"));
  const row = other.getByRole("row").filter({ has: other.getByRole("cell", { name: OTHER, exact: true }) });
  const change = row.locator("details").filter({ has: other.locator("summary", { hasText: "Password" }) });
  await change.locator("summary").click();
  await change.getByLabel("Password").fill(NEW);
  await change.getByLabel("Why").fill("leaked");
  await change.getByRole("button").click();
  await other.getByRole("status").filter({ hasText: /\w/ }).waitFor();
  await admin.close();

  // What is sent is refused, and what is asked for is come back to.
  await page.getByRole("button", { name: /^Theme/ }).click();
  await page.getByRole("heading", { name: "Signed out" }).waitFor();
  assert.match(await page.locator("main").innerText(), /Nothing was changed/);
  await page.goBack();
  await isAtDoor(page);
  await go(page, "/withdrawals?currency=USD");
  await isAtDoor(page);
  await fillIn(page, OTHER, NEW);
  await isAt(page, "/withdrawals?currency=USD");
  // Of the form, and of what moved by itself.
  expected(complaints, /status of 401/);
});

browse("an account that is locked is refused, and the admin sees it", {}, async (page, _, complaints) => {
  const locked = variable("LOCKED");
  const guest = await page.context().browser().newContext({ baseURL: variable("BASE_URL"), ...STRANGER });
  const door = await guest.newPage();
  await door.goto("/sign-in");
  await refused(door, locked, WRONG, complaints);
  await refused(door, locked, variable("PASSWORD"), complaints);
  assert.match(await refusal(door).innerText(), /locked for a while/);
  await isDoor(door);
  await guest.close();
  await go(page, "/operators");
  const row = page.getByRole("row").filter({ has: page.getByRole("cell", { name: locked, exact: true }) });
  assert.match(await row.innerText(), /locked/);
});

browse("whoever guesses is told to wait", STRANGER, async (page, _, complaints) => {
  await go(page, "/sign-in");
  const wait = page.getByRole("heading", { name: "Too many failures" });
  for (let guess = 0; guess < GUESSES_MAX && !(await wait.count()); guess += 1) {
    await fillIn(page, "nobody", WRONG);
    await refusal(page).or(wait).waitFor();
  }
  assert.match(await page.locator("main").innerText(), /Try again in \d+ s/);
  assert.equal(await page.locator("nav, table").count(), 0);
  expected(complaints, /status of 4(01|29)/);
});
