// A withdrawal above the limit needs two operators: one asks, may not approve it himself, and another one decides.
//   OPERATOR, SECOND, VIEWER  two of the role finance, and one who only looks; all have the same PASSWORD
//   LARGE, REFUSED, SMALL     paths of pending withdrawals: two above the limit, and one that is not

import assert from "node:assert/strict";
import { browse, go, signIn, variable, visit } from "./browser.mjs";

const said = (page, words) => page.getByRole("status").filter({ hasText: words }).waitFor();
const state = (page) => page.locator("h1 .badge").innerText();
const asked = (page, withdrawal) => page.getByRole("row").filter({ has: page.locator(`a[href="${withdrawal}"]`) }).first();

/** A visit of another operator. */
async function as(name, task) {
  const storageState = await signIn(variable("BASE_URL"), variable(name), variable("PASSWORD"));
  await visit(variable("BASE_URL"), { storageState }, task);
}

async function ask(page, withdrawal) {
  await go(page, withdrawal);
  assert.match(await page.locator("main").innerText(), /two operators have to approve/);
  await page.getByLabel("Reason").fill("the invoice of May");
  await page.getByRole("button", { name: "Ask for approval" }).click();
  await said(page, "approve");
  assert.equal(await state(page), "Pending");
  assert.match(await page.locator("main").innerText(), new RegExp(`operator ${variable("OPERATOR")} asked to approve it`));
  // Nobody is asked twice.
  assert.equal(await page.getByRole("button", { name: "Ask for approval" }).count(), 0);
}

async function decide(page, withdrawal, button) {
  await go(page, "/approvals");
  const row = asked(page, withdrawal);
  assert.match(await row.innerText(), /the invoice of May/);
  await row.getByLabel("Why").fill("as it was ordered");
  await row.getByRole("button", { name: button }).click();
  await page.getByRole("status").filter({ hasText: button }).waitFor();
}

browse("what is below the limit is approved alone", {}, async (page) => {
  await go(page, variable("SMALL"));
  await page.getByRole("button", { name: "Approve" }).click();
  await page.locator("h1 .badge").filter({ hasText: "Processing" }).waitFor();
});

browse("what is above it is asked for by one and approved by another", {}, async (page) => {
  const large = variable("LARGE");
  await ask(page, large);
  await go(page, "/approvals");
  assert.match(await asked(page, large).innerText(), /Somebody else has to decide/);
  assert.equal(await asked(page, large).getByRole("button").count(), 0, "who asks is offered to decide");

  await as("VIEWER", async (viewer) => {
    await go(viewer, "/approvals");
    assert.match(await asked(viewer, large).innerText(), /the invoice of May/);
    assert.equal(await asked(viewer, large).getByRole("button").count(), 0, "who only looks is offered to decide");
  });

  await as("SECOND", async (second) => {
    await go(second, "/approvals");
    const action = await asked(second, large).locator("form").getAttribute("action");
    // Who asks decides by a form made by hand: a token of his own from another form of his.
    const csrf = await page.locator("form[action='/theme'] [name=csrf]").inputValue();
    const form = { csrf, once: "by-hand", reason: "myself", decision: "approve" };
    const origin = new URL(variable("BASE_URL")).origin;
    const answer = await page.request.post(action, { form, headers: { origin } });
    assert.equal(answer.status(), 409);
    await go(second, large);
    assert.equal(await state(second), "Pending");

    await decide(second, large, "Approve");
    await go(second, large);
    assert.equal(await state(second), "Processing");
    await go(second, "/audit");
    const audit = await second.locator("main").innerText();
    for (const why of ["the invoice of May", "as it was ordered"]) assert.ok(audit.includes(why), `no ${why} in ${audit}`);
  });
  await page.reload();
  assert.match(await asked(page, large).innerText(), new RegExp(`operator ${variable("SECOND")}`));
});

browse("what another one refuses stays as it was", {}, async (page) => {
  const refused = variable("REFUSED");
  await ask(page, refused);
  await as("SECOND", (second) => decide(second, refused, "Refuse"));
  await go(page, refused);
  assert.equal(await state(page), "Pending");
  assert.equal(await page.getByRole("button", { name: "Ask for approval" }).count(), 1, "it cannot be asked for again");
});
