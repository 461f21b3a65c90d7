// Every page of the console, in one list: what is not in it is neither looked at nor judged. A page of one thing is found as
// a person finds it, by a link on the page of its kind, so a link that is missing fails, too.

import { STRANGER, go } from "./browser.mjs";

/**
 * route: as the console's router has it. from: the route of the page that links to it. link: what the link's text must
 * hold, where any will not do. query: what to ask for. door: it is shown to nobody who has signed in.
 */
export const PAGES = [
  { route: "/" },
  { route: "/payments" },
  { route: "/payments/{id}", from: "/payments" },
  { route: "/merchants" },
  { route: "/merchants/{id}", from: "/merchants" },
  { route: "/withdrawals" },
  { route: "/withdrawals/{id}", from: "/withdrawals" },
  { route: "/ledger" },
  { route: "/ledger/accounts/{owner}/{kind}/{currency}", from: "/ledger" },
  { route: "/events" },
  { route: "/events/{stream}/{lane}/{position}", from: "/events" },
  { route: "/events/verify", from: "/events" },
  { route: "/dead-letters" },
  { route: "/dead-letters/{id}", from: "/dead-letters" },
  { route: "/dead-letters/bulk", from: "/dead-letters" },
  { route: "/consumers" },
  { route: "/consumers/{name}", from: "/consumers" },
  { route: "/consumers/{name}/restart", from: "/consumers/{name}" },
  { route: "/relay" },
  { route: "/reviews" },
  { route: "/reconciliation" },
  { route: "/reconciliation/{run}", from: "/reconciliation" },
  { route: "/requests" },
  { route: "/requests/errors" },
  { route: "/idempotency" },
  { route: "/topics" },
  { route: "/topics/{name}", from: "/topics", link: "payment-events" },
  { route: "/topics/{name}/messages", from: "/topics/{name}" },
  { route: "/topics/{name}/messages/{partition}/{offset}", from: "/topics/{name}/messages" },
  { route: "/analytics" },
  { route: "/audit" },
  { route: "/audit/commands" },
  { route: "/approvals" },
  { route: "/configuration" },
  // A word of the data that the tests make: /search of an id alone leads away to its page.
  { route: "/search", query: "?q=Test" },
  { route: "/sign-in", door: true },
  { route: "/operators" },
  { route: "/keys" },
];

const words = (name) => (process.env[name] ?? "").split(/\s+/).filter(Boolean);
/** Routes that the server under test does not show, or not to who looks, with all below them: ABSENT="/topics /relay". */
const ABSENT = words("ABSENT");
/** The routes that are looked at, where all of them are elsewhere: ROUTES="/ /topics". */
const ROUTES = words("ROUTES");

function isAbsent({ route, door }) {
  // Where nobody signs in there is no door.
  const isWithoutDoor = door && !process.env.OPERATOR;
  return isWithoutDoor || ABSENT.some((absent) => route === absent || route.startsWith(`${absent}/`));
}

const isWanted = ({ route }) => !ROUTES.length || ROUTES.includes(route);
export const SHOWN = PAGES.filter((page) => !isAbsent(page) && isWanted(page));
export const NOT_SHOWN = PAGES.filter((page) => isAbsent(page) && !page.door && !page.route.includes("{"));

/** The options of a visit to a page. */
export const options = ({ door }) => (door ? STRANGER : {});

/** Paths of routes, so that the pages on the way to another are gone to once. */
const known = new Map();

/** The path of a page of a route. */
export async function path(page, { route, from, link, query }) {
  if (!from) return route + (query ?? "");
  if (!known.has(route)) {
    await go(page, await path(page, PAGES.find((other) => other.route === from)));
    const found = await firstLink(page, route, link);
    if (!found) throw new Error(`${page.url()} has no link to ${route}${link ? ` that says ${link}` : ""}`);
    known.set(route, found);
  }
  return known.get(route);
}

/** The path and query of the first link, or form to be filled in, that leads to a page of a route. */
export function firstLink(page, route, text = "") {
  // An id is a UUID, so that /payments/export is no payment.
  const pattern = `^${route.replaceAll("{id}", "[0-9a-f-]{36}").replace(/\{[a-z]+\}/g, "[^/]+")}$`;
  return page.locator("a[href], form[action]:not([method=post])").evaluateAll(
    (links, { pattern, text }) => {
      const here = location.origin;
      // A field of a form may be called `action`.
      const target = (link) => new URL(link.getAttribute("href") ?? link.getAttribute("action"), location);
      const leads = ({ origin, pathname }) => origin === here && new RegExp(pattern).test(pathname);
      const found = links.find((link) => leads(target(link)) && link.textContent.includes(text));
      return found && target(found).pathname + target(found).search;
    },
    { pattern, text },
  );
}

/** Goes to a page of a route that is shown; another one in its place is none. */
export async function open(page, shown) {
  const wanted = await path(page, shown);
  await go(page, wanted);
  const { pathname } = new URL(page.url());
  if (pathname !== wanted.split("?")[0]) throw new Error(`${wanted} leads to ${page.url()}`);
}

/** For a file's name: `payments-id`, `home`. */
export function name({ route }) {
  return route.replace(/[{}]/g, "").replace(/\W+/g, "-").replace(/^-|-$/g, "") || "home";
}
