// Where the focus goes when somebody presses Tab, and whether it can be seen there.

const FOCUSABLE = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]:not([tabindex='-1'])";
/** A page with more to reach by Tab than this is a fault of its own. */
const PRESSES_MAX = 1_000;
/** A field for a date and a time has a stop for each of their parts. */
const STOPS_MAX = 10;

/** Presses Tab from the top of the page to its end. Gives what is wrong, as texts, and how many places have been reached. */
export async function walkByTab(page) {
  // Keys go to the page that is in front.
  await page.bringToFront();
  const expected = await page.evaluate(number, FOCUSABLE);
  const faults = [];
  const reached = new Set();
  let last = -1;
  let stops = 0;
  let ended = false;
  for (let press = 0; press < PRESSES_MAX && stops < STOPS_MAX && !ended; press += 1) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate(look);
    stops = focused?.number === last ? stops + 1 : 0;
    if (stops > 0) continue;
    // Behind the last one the focus leaves the page, or begins anew.
    ended = focused === null || (focused.number !== null && reached.has(focused.number));
    if (ended) continue;
    if (!focused.seen) faults.push(`the focus cannot be seen on ${focused.what}`);
    if (!focused.inView) faults.push(`${focused.what} has the focus and is out of sight`);
    if (focused.number === null) continue;
    if (focused.number < last) faults.push(`${focused.what} comes out of order`);
    last = focused.number;
    reached.add(focused.number);
  }
  if (!ended) faults.push("Tab does not come to the end of the page");
  const missed = expected.filter(({ number }) => !reached.has(number));
  faults.push(...missed.map(({ what }) => `Tab does not reach ${what}`));
  return { faults, reached: reached.size };
}

/** In the page: numbers what Tab should reach, in the order of the document, and notes how each looks without focus. */
function number(selector) {
  // A field that has the focus when the page opens would be where Tab goes on from: the walk begins at the top.
  if (document.activeElement !== document.body) {
    const top = document.createElement("span");
    top.tabIndex = -1;
    document.body.prepend(top);
    top.focus();
    top.remove();
  }
  globalThis.getSelection()?.removeAllRanges();
  const looks = (element) => {
    const style = getComputedStyle(element);
    const outline = style.outlineStyle === "none" ? "0px" : style.outlineWidth;
    const rest = [style.boxShadow, style.borderColor, style.backgroundColor, style.textDecorationLine].join();
    return { outline, rest };
  };
  const words = (element) => {
    const name = element.getAttribute("aria-label") || element.innerText || element.name || "";
    return `<${element.localName}> "${name.trim().slice(0, 40)}"`;
  };
  const isShown = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest("[inert]");
  const isReachable = (element) => !element.disabled && element.tabIndex >= 0 && isShown(element);
  // Of the radio buttons of a group one is reached by Tab, the others by arrows: the one that is chosen, or the first.
  const isTheOne = (element) => {
    const { name, form } = element;
    const group = all.filter((other) => other.type === "radio" && other.name === name && other.form === form);
    return (group.find(({ checked }) => checked) ?? group[0]) === element;
  };
  const all = [...document.querySelectorAll(selector)].filter(isReachable);
  const expected = all.filter((element) => element.type !== "radio" || isTheOne(element));
  // By their places in the document: what moves by itself is replaced by its like meanwhile.
  const place = (element) => {
    const parent = element.parentElement;
    return parent ? `${place(parent)}/${[...parent.children].indexOf(element)}` : "";
  };
  const numbers = new Map(expected.map((element, index) => [place(element), index]));
  const before = new Map(all.map((element) => [place(element), looks(element)]));
  globalThis.tabWalk = { numbers, before, looks, words, place };
  return expected.map((element, index) => ({ number: index, what: words(element) }));
}

/** In the page: what has the focus now. */
function look() {
  const element = document.activeElement;
  if (!element || element === document.body || element === document.documentElement) return null;
  const { numbers, before, looks, words, place } = globalThis.tabWalk;
  const now = looks(element);
  const then = before.get(place(element));
  const box = element.getBoundingClientRect();
  return {
    number: numbers.get(place(element)) ?? null,
    what: words(element),
    seen: parseFloat(now.outline) > 0 || (then !== undefined && then.rest !== now.rest),
    inView: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
  };
}
