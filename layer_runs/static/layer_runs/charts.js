/* Arrow keys inside a chart: it is one stop of the tab order, its links are reached from there.
   Without this file each link is a stop of its own. */
"use strict";

(() => {
  const chartOf = (table) => table.previousElementSibling.dataset.chart;
  const linksOf = (chart) => [...chart.querySelectorAll("a[href]")];

  /* The one link of a chart that Tab reaches: the last used, or the newest. */
  function settle(chart, chosen) {
    for (const link of linksOf(chart)) link.setAttribute("tabindex", link === chosen ? "0" : "-1");
  }

  function settleAll(root) {
    for (const chart of root.querySelectorAll("[data-roving]")) {
      if (!chart.querySelector("a[tabindex='0']")) settle(chart, linksOf(chart).at(-1));
    }
  }

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const chart = event.target.closest?.("[data-roving]");
    const links = chart ? linksOf(chart) : [];
    const here = links.indexOf(event.target.closest?.("a"));
    const next = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: links.length - 1 }[event.key];
    if (here < 0 || next === undefined) return;
    event.preventDefault();
    links[Math.min(Math.max(next, 0), links.length - 1)].focus();
  });

  document.addEventListener("focusin", (event) => {
    const chart = event.target.closest?.("[data-roving]");
    const link = event.target.closest?.("a[href]");
    if (chart && link) settle(chart, link);
  });

  /* A click with a key held down opens a tab or a window: the browser's own affair. */
  document.addEventListener("click", (event) => {
    const held = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey;
    if (held && event.target.closest?.("[data-roving] a[hx-get]")) event.stopPropagation();
  }, { capture: true });

  /* A chart is replaced by the one its own link asked for: the keyboard is still in it, and an open table stays open. */
  let left = "";
  let opened = [];
  document.addEventListener("htmx:beforeSwap", () => {
    left = document.activeElement?.closest?.("[data-roving]")?.closest("[data-chart]")?.dataset.chart ?? "";
    opened = [...document.querySelectorAll("[data-chart] + details[open]")].map((table) => chartOf(table));
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const table of document.querySelectorAll("[data-chart] + details")) {
      if (opened.includes(chartOf(table))) table.open = true;
    }
  });
  document.addEventListener("htmx:afterSettle", () => {
    settleAll(document);
    if (left && document.activeElement === document.body) {
      document.querySelector(`[data-chart="${CSS.escape(left)}"] a[tabindex="0"]`)?.focus({ preventScroll: true });
    }
    left = "";
  });

  settleAll(document);
})();
