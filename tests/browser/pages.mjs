// Every page of the console, in one list: what is not in it is neither looked at nor judged. A page of one thing is found as
// a person finds it, by a link on the page of its kind, so a link that is missing fails, too.

import { go } from "./browser.mjs";

/**
 * route: as the console's router has it. from: the route of the page that links to it. link: what the link's text must
 * hold, where any will not do. query: what to ask for.
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
  { route: "/dead-letters" },
  { route: "/dead-letters/{id}", from: "/dead-letters" },
  { route: "/consumers" },
  { route: "/consumers/{name}", from: "/consumers" },
  { route: "/relay" },
  { route: "/reviews" },
  { route: "/reconciliation" },
  { route: "/requests" },
  { route: "/requests/errors" },
  { route: "/idempotency" },
  { route: "/topics" },
  { route: "/topics/{name}", from: "/topics", link: "payment-events" },
  { route: "/topics/{name}/messages", from: "/topics/{name}" },
  { route: "/analytics" },
  { route: "/audit" },
  { route: "/audit/commands" },
  { route: "/approvals" },
  { route: "/configuration" },
  // A word of the data that the tests make: /search of an id alone leads away to its page.
  { route: "/search", query: "?q=Test" },
  { route: "/sign-in" },
  { route: "/operators" },
  { route: "/keys" },
];

/** Routes that the server under test does not show, such as topics without Kafka: ABSENT="/topics /relay". */
const ABSENT = (process.env.ABSENT ?? "").split(/\s+/).filter(Boolean);

/** Of a route, with what is below it. */
function isAbsent(route) {
  return ABSENT.some((absent) => route === absent || route.startsWith(`${absent}/`));
}

export const SHOWN = PAGES.filter(({ route }) => !isAbsent(route));
export const NOT_SHOWN = PAGES.filter(({ route }) => isAbsent(route) && !route.includes("{"));

/** The path of a page of a route. */
export async function path(page, { route, from, link, query }) {
  if (!from) return route + (query ?? "");
  await go(page, await path(page, PAGES.find((other) => other.route === from)));
  const found = await firstLink(page, route, link);
  if (!found) throw new Error(`${page.url()} has no link to ${route}${link ? ` that says ${link}` : ""}`);
  return found;
}

/** The path and query of the first link that leads to a page of a route. */
export function firstLink(page, route, text = "") {
  // An id is a UUID, so that /payments/export is no payment.
  const pattern = `^${route.replaceAll("{id}", "[0-9a-f-]{36}").replace(/\{[a-z]+\}/g, "[^/]+")}$`;
  return page.locator("a[href]").evaluateAll(
    (links, { pattern, text }) => {
      const here = location.origin;
      const leads = (link) => link.origin === here && new RegExp(pattern).test(link.pathname);
      const found = links.find((link) => leads(link) && link.textContent.includes(text));
      return found && found.pathname + found.search;
    },
    { pattern, text },
  );
}

/** Goes to a page of a route that is shown. */
export async function open(page, shown) {
  await go(page, await path(page, shown));
}

/** For a file's name: `payments-id`, `home`. */
export function name({ route }) {
  return route.replace(/[{}]/g, "").replace(/\W+/g, "-").replace(/^-|-$/g, "") || "home";
}
