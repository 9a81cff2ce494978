/* What links and forms cannot do by themselves: the drawer, menus that close, and saying when a request failed.
   Every page works without this file. */
"use strict";

(() => {
  const form = document.getElementById("run-filters");
  const drawer = document.getElementById("run-detail");

  /* ---- the filters follow the address: a chip or a card changes the selection without touching the form */

  function followAddress() {
    const given = new URLSearchParams(location.search);
    for (const control of form?.elements ?? []) {
      if (control.type === "checkbox") control.checked = given.getAll(control.name).includes(control.value);
      else if (control.type === "radio") {
        const ranged = given.has("since") || given.has("until");
        control.checked = !ranged && control.value === (given.get("period") ?? "7d");
      } else if (control.name && control !== document.activeElement && control.type !== "hidden"
          && !document.querySelector(`.lr-complaint[data-field="${control.name}"]`)) {
        // What was typed and not understood stays, to be mended beside its message.
        control.value = given.get(control.name) ?? "";
      }
    }
    for (const name of ["page", "after", "before"]) given.delete(name);
    for (const link of document.querySelectorAll("a[data-selection-link]")) {
      link.search = given.toString();
    }
  }

  let countsAreOld = false;

  document.addEventListener("htmx:afterSwap", (event) => {
    if (!form || event.target.id !== form.dataset.target) return;
    followAddress();
    countsAreOld = true;
  });

  // Beside each choice stands how many runs it has in this selection: asked for when somebody looks.
  form?.addEventListener("toggle", (event) => {
    const id = event.target.dataset.choices;
    if (!id || !event.target.open || !countsAreOld) return;
    htmx.ajax("GET", location.pathname + location.search, { target: `#${id}`, swap: "outerHTML" });
  }, { capture: true });

  form?.addEventListener("change", (event) => {
    // Typing in the search box sends by itself; leaving it must not send again.
    if (event.target.type === "search") event.stopPropagation();
    // A range and the rarer filters are sent when they are complete, by their button.
    if (event.target.closest(".lr-range, .lr-more")) event.stopPropagation();
    if (event.target.name === "period") {
      for (const name of ["since", "until"]) form.elements[name].value = "";
    }
  }, { capture: true });

  /* ---- menus: one open at a time, closed by Escape and by a click elsewhere */

  function closeMenus(except) {
    for (const menu of document.querySelectorAll("details.lr-menu[open]")) {
      if (!menu.contains(except)) menu.open = false;
    }
  }
  document.addEventListener("click", (event) => closeMenus(event.target));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = event.target.closest?.("details.lr-menu[open]");
    closeMenus(null);
    menu?.querySelector("summary").focus();
  });
  form?.addEventListener("submit", () => closeMenus(null));

  /* ---- the drawer */

  let closing = false;
  let opener = null;

  function markOpenRow() {
    for (const row of document.querySelectorAll("tr.lr-open")) row.classList.remove("lr-open");
    if (drawer.open) opener?.closest("tr")?.classList.add("lr-open");
  }

  if (drawer) {
    document.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-run-id]");
      if (!row || event.target.closest("a, button") || String(getSelection())) return;
      const link = row.querySelector("a[hx-get]");
      if (event.ctrlKey || event.metaKey) open(link.href);
      else link.click();
    });

    document.addEventListener("htmx:afterSwap", (event) => {
      if (event.target !== drawer) return;
      if (!drawer.open) {
        opener = event.detail.requestConfig.elt;
        drawer.showModal();
      } else {
        drawer.querySelector("[autofocus]")?.focus();
      }
      drawer.scrollTop = 0;
      markOpenRow();
    });

    // Opening pushed the run's address: however the drawer closes, that one step is taken back.
    drawer.addEventListener("close", () => {
      markOpenRow();
      drawer.replaceChildren();
      // After a step back of the browser's own there is none left to take.
      if (closing) closing = false;
      else if (opener) {
        closing = true;
        history.back();
      }
      opener?.focus({ preventScroll: true });
      opener = null;
    });
    drawer.addEventListener("click", (event) => { if (event.target === drawer) drawer.close(); });

    // The list is still below: going back to it needs no request. Heard before htmx, which would reload the page.
    addEventListener("popstate", (event) => {
      if (!drawer.open && !closing) return;
      event.stopImmediatePropagation();
      // close() is heard of later: until then `closing` has to stand.
      closing = drawer.open;
      drawer.close();
    }, { capture: true });
  }

  /* ---- a request that failed is said, not swallowed */

  function say(text) {
    const alert = document.getElementById("lr-alert");
    alert.textContent = text;
    alert.hidden = false;
    if (drawer?.open) drawer.close();
    alert.focus();
  }
  document.addEventListener("htmx:responseError", (event) => {
    const { status, responseText } = event.detail.xhr;
    if (status === 401) return; // on its way to the login page
    // A refusal in plain words is meant for the reader. A page of HTML is not.
    const words = /^text\/plain/.test(event.detail.xhr.getResponseHeader("Content-Type")) && responseText.length < 500
      ? responseText.trim() : "";
    const isReading = event.detail.requestConfig.verb === "get";
    say(status === 403 && !isReading ? "Your session has changed, and this was not done. Reload the page and do it again." :
        status === 403 ? "You are not allowed to see this." :
        status === 404 ? "That is no longer here. Reload the page." :
        words ? `${words} What you see is from before.` :
        `The server could not answer (${status}). What you see is from before; try again or reload the page.`);
  });
  document.addEventListener("htmx:sendError", () => say("The server could not be reached. What you see is from before."));
  document.addEventListener("htmx:timeout", () => say("The server took too long. What you see is from before."));
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful && event.target.id !== "run-news") document.getElementById("lr-alert").hidden = true;
  });
})();
