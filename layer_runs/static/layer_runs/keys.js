/* The keyboard: / searches, j and k go through the rows, Enter opens, Esc closes, ? lists the keys. */
"use strict";

(() => {
  const ROWS = "tr[data-run-id], tr[data-layer], tr[data-version], tr[data-cause], tr[data-fingerprint], tr[data-topic]";
  const help = document.getElementById("lr-keys");

  function isTyping(element) {
    return element.isContentEditable || element.matches?.("textarea, select")
      || (element.matches?.("input") && !["checkbox", "radio", "button", "submit"].includes(element.type));
  }

  function step(by) {
    const links = [...document.querySelectorAll(ROWS)]
      .filter((row) => row.checkVisibility())
      .map((row) => row.querySelector("a[href]"))
      .filter(Boolean);
    if (!links.length) return;
    const row = document.activeElement?.closest?.(ROWS);
    const at = row ? links.findIndex((link) => row.contains(link)) : by > 0 ? -1 : links.length;
    const link = links[Math.min(Math.max(at + by, 0), links.length - 1)];
    link.focus();
    link.closest("tr").scrollIntoView({ block: "nearest" });
  }

  const keys = {
    "/": () => document.querySelector("#run-filters [type='search']")?.focus(),
    j: () => step(1),
    k: () => step(-1),
    "?": () => help?.showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
    if (isTyping(event.target)) {
      if (event.key === "Escape" && event.target.type === "search" && !event.target.value) event.target.blur();
      return;
    }
    // Over an open dialog the rows below are out of reach.
    const act = keys[event.key];
    if (!act || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    act();
  });

  // What only works with a script is only shown by one.
  for (const hint of document.querySelectorAll("#run-filters .lr-key")) hint.hidden = false;
  for (const button of document.querySelectorAll("[data-keys]")) {
    button.hidden = false;
    button.addEventListener("click", () => help.showModal());
  }
  help?.addEventListener("click", (event) => { if (event.target === help) help.close(); });
})();
