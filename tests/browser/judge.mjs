// Whether everybody can use a page: what axe-core says of it, and whether it fits into its window. It promises to judge the
// page as it is served, its Content-Security-Policy in force. And whether a page took a stored text for a part of itself.

import { require } from "./browser.mjs";

const { source } = require("axe-core");
/** Below these a finding is told and fails nothing. */
const GRAVE = ["serious", "critical"];

/** Before the context goes anywhere: each of its documents begins with axe. No policy of a page forbids that. */
export function bring(context) {
  return context.addInitScript({ content: source });
}

/** Findings as texts: those that fail, and those that are only told. */
export async function judge(page) {
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  // A document that axe found nothing to judge in is no page.
  if (passes.length === 0) throw new Error(`axe found nothing to judge on ${page.url()}`);
  const told = ({ id, impact, help, nodes }) => {
    const places = nodes.map(({ target, failureSummary }) => `${target.join(" ")}\n${failureSummary}`);
    return `${impact} ${id}: ${help}\n${places.join("\n").replace(/^/gm, "    ")}`;
  };
  const grave = ({ impact }) => GRAVE.includes(impact);
  return {
    faults: [...violations.filter(grave).map(told), ...(await tooWide(page))],
    remarks: violations.filter((violation) => !grave(violation)).map(told),
  };
}

/** What is wider than the window is scrolled in a box of its own, not with the page (WCAG 1.4.10). */
async function tooWide(page) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  return content > window ? [`the page is ${content} pixels wide in a window of ${window}`] : [];
}

/** The class of the elements, and the variable of the script, in the text that the tests store to be run. */
export const MARK = "injected";

/** What became of that text: its elements that are in the page, and whether its script ran. */
export async function injected(page) {
  const elements = await page.locator(`.${MARK}`).count();
  const ran = await page.evaluate((mark) => mark in globalThis, MARK);
  return { elements, ran };
}
