// Whether everybody can use a page: what axe-core says of it, light, dark and in a narrow window, and whether it fits into its
// window. It promises to judge the page as it is served, its Content-Security-Policy in force. And whether a page took a stored text for a part of itself.

import { require } from "./browser.mjs";

const { source } = require("axe-core");
/** Below these a finding is told and fails nothing. */
const GRAVE = ["serious", "critical"];

const NARROW = { width: 390, height: 844 };

/** The rules whose verdict hangs on colours: in another scheme the rest of a page is what it was. */
const OF_COLOURS = ["color-contrast", "link-in-text-block"];
const setTo = (enabled) => Object.fromEntries(OF_COLOURS.map((rule) => [rule, { enabled }]));

/** What a page is judged in, and by which rules, where they are not all. A narrow window shows no colours of its own. */
const LOOKS = {
  light: { change: (page) => page.emulateMedia({ colorScheme: "light" }), rules: {} },
  dark: { change: (page) => page.emulateMedia({ colorScheme: "dark" }), rules: { runOnly: OF_COLOURS } },
  narrow: { change: (page) => page.setViewportSize(NARROW), rules: { rules: setTo(false) } },
};

/** Findings as texts, each with the looks that it was found in: those that fail, and those that are only told. */
export async function judge(page) {
  const window = page.viewportSize();
  const [faults, remarks] = [new Map(), new Map()];
  // By the browser itself, which no policy of a page forbids.
  await page.evaluate(source);
  for (const [look, { change, rules }] of Object.entries(LOOKS)) {
    await change(page);
    const found = await judgeLook(page, rules);
    note(faults, look, found.faults);
    note(remarks, look, found.remarks);
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(window);
  return { faults: told(faults), remarks: told(remarks) };
}

/** The same finding in several looks is one. */
function note(findings, look, texts) {
  for (const text of texts) findings.set(text, [...(findings.get(text) ?? []), look]);
}

const told = (findings) => [...findings].map(([text, looks]) => `${looks.join(", ")}: ${text}`);

async function judgeLook(page, rules) {
  const wanted = { resultTypes: ["violations"], ...rules };
  const { violations, passes } = await page.evaluate(async (wanted) => {
    const { violations, passes } = await globalThis.axe.run(document, wanted);
    return { violations, passes: passes.length };
  }, wanted);
  // A document that axe found nothing to judge in is no page.
  if (passes + violations.length === 0) throw new Error(`axe found nothing to judge on ${page.url()}`);
  const asText = ({ id, impact, help, nodes }) => {
    const places = nodes.map(({ target, failureSummary }) => `${target.join(" ")}\n${failureSummary}`);
    return `${impact} ${id}: ${help}\n${places.join("\n").replace(/^/gm, "    ")}`;
  };
  const grave = ({ impact }) => GRAVE.includes(impact);
  return {
    faults: [...violations.filter(grave).map(asText), ...(await tooWide(page))],
    remarks: violations.filter((violation) => !grave(violation)).map(asText),
  };
}

/**
 * What is wider than the window is scrolled in a box of its own, not with the page (WCAG 1.4.10). In a wide window nothing but
 * such a box is scrolled sideways: a column that is cut off is not missed by anybody.
 */
async function tooWide(page) {
  const [content, window, columns] = await page.evaluate(() => {
    const columns = [...document.querySelectorAll("main")].map((main) => [main.scrollWidth, main.clientWidth]);
    return [document.documentElement.scrollWidth, innerWidth, columns];
  });
  const faults = content > window ? [`the page is ${content} pixels wide in a window of ${window}`] : [];
  for (const [wide, room] of window > NARROW.width ? columns : []) {
    if (wide > room) faults.push(`what the page is about is ${wide} pixels wide and has room for ${room}`);
  }
  return faults;
}

/** The class of the elements, and the variable of the script, in the text that the tests store to be run. */
export const MARK = "injected";

/** What became of that text: its elements that are in the page, and whether its script ran. */
export async function injected(page) {
  const elements = await page.locator(`.${MARK}`).count();
  const ran = await page.evaluate((mark) => mark in globalThis, MARK);
  return { elements, ran };
}
