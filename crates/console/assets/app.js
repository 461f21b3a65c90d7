// What makes the pages quicker to work with. Everything works without it.
"use strict";
(() => {
  const $ = (selector, root) => (root || document).querySelector(selector);
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));
  const inField = (target) => target.closest && target.closest("input, select, textarea, [contenteditable]");

  // Copy buttons are shown where they work.
  const arm = (root) => {
    if (navigator.clipboard) all("button.copy[hidden]", root).forEach((button) => { button.hidden = false; });
  };
  arm(document);
  document.addEventListener("htmx:load", (event) => arm(event.target));

  // A live list keeps its newest rows.
  document.addEventListener("htmx:sseMessage", (event) => {
    const keep = event.target.dataset && Number(event.target.dataset.keep);
    while (keep && event.target.children.length > keep) event.target.lastElementChild.remove();
  });

  document.addEventListener("click", (event) => {
    const copy = event.target.closest("button.copy");
    if (copy) {
      navigator.clipboard.writeText(copy.dataset.copy).then(() => {
        copy.classList.add("copied");
        setTimeout(() => copy.classList.remove("copied"), 1000);
      });
    }
    const pick = event.target.closest("[data-pick-all]");
    if (pick) all(pick.dataset.pickAll).forEach((box) => { box.checked = pick.checked; });
  });

  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (button && button.dataset.confirm && !window.confirm(button.dataset.confirm)) event.preventDefault();
  });

  // Times in the zone of whoever looks, if that is wanted. The exact moment in UTC stays in the title.
  const zoneButton = $("[data-zone]");
  const local = (moment) => new Intl.DateTimeFormat("sv-SE", {
    dateStyle: "short", timeStyle: "medium",
  }).format(moment);
  const showZone = (root) => {
    const isLocal = localStorage.getItem("zone") === "local";
    if (zoneButton) zoneButton.textContent = isLocal ? "Times: local" : "Times: UTC";
    all(".when", root).forEach((when) => {
      const [time, text] = [$("time", when), $("small", when)];
      if (!time || !text) return;
      text.dataset.utc = text.dataset.utc || text.textContent;
      text.textContent = isLocal ? `${local(new Date(time.dateTime))} local` : text.dataset.utc;
    });
  };
  if (zoneButton) {
    zoneButton.hidden = false;
    zoneButton.addEventListener("click", () => {
      localStorage.setItem("zone", localStorage.getItem("zone") === "local" ? "utc" : "local");
      showZone(document);
    });
    showZone(document);
    document.addEventListener("htmx:load", (event) => showZone(event.target));
  }

  // Rows by j and k; the row is where the focus of its first link is.
  const rows = () => all("table.list tbody tr");
  const move = (step) => {
    const list = rows();
    if (!list.length) return;
    const now = list.findIndex((row) => row.classList.contains("here"));
    const next = list[Math.min(Math.max(now + step, 0), list.length - 1)];
    list.forEach((row) => row.classList.remove("here"));
    next.classList.add("here");
    const link = $("a", next);
    if (link) link.focus();
    next.scrollIntoView({ block: "nearest" });
  };

  // News: how much there is by now of what this page lists, and what should be seen wherever one is.
  let base = null;
  const toast = (text, href) => {
    const link = document.createElement("a");
    link.className = "toast";
    link.href = href;
    link.textContent = text;
    $("#toasts").append(link);
    setTimeout(() => link.remove(), 15000);
  };
  const hear = (news) => {
    if (base) {
      if (news["dead-letters"] > base["dead-letters"]) toast(`Dead letters: ${news["dead-letters"]} are open`, "/dead-letters");
      if (news.breaks > base.breaks) toast(`Reconciliation: ${news.breaks} breaks`, "/reconciliation");
      base["dead-letters"] = news["dead-letters"];
      base.breaks = news.breaks;
    } else {
      base = { ...news };
    }
    const list = $("[data-news]");
    const more = list ? news[list.dataset.news] - base[list.dataset.news] : 0;
    if (more > 0) {
      list.textContent = `${more} new event${more === 1 ? "" : "s"}: show`;
      list.hidden = false;
    }
  };
  document.addEventListener("htmx:sseMessage", (event) => {
    if (event.detail.type === "news") hear(JSON.parse(event.detail.data));
  });

  let going = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const help = $("#help");
    if (event.key === "Escape") {
      if (inField(event.target)) event.target.blur();
      return;
    }
    if (inField(event.target) || (help && help.open)) return;
    if (going) {
      going = false;
      const link = $(`nav a[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); window.location.assign(link.href); }
      return;
    }
    switch (event.key) {
      case "/": event.preventDefault(); $("#q").focus(); break;
      case "?": event.preventDefault(); help.showModal(); break;
      case "g": going = true; setTimeout(() => { going = false; }, 1500); break;
      case "j": move(1); break;
      case "k": move(-1); break;
      case "x": { const box = $("tr.here input[type=checkbox]"); if (box) box.click(); break; }
      case "e": { const link = $("[data-shortcut=e]"); if (link) link.click(); break; }
    }
  });

})();
