/* Live: while the page is visible, look for new runs every ten seconds and say how many there are. No row moves. */
"use strict";

(() => {
  const EVERY = 10_000;
  const news = () => document.getElementById("run-news");
  let asking = false;

  // Without a script nothing would look: the switch is hidden until there is one.
  for (const label of document.querySelectorAll("#run-filters .lr-live")) label.hidden = false;

  function look() {
    const url = news()?.dataset.url;
    if (!url || asking || document.visibilityState !== "visible") return;
    asking = true;
    htmx.ajax("GET", url, { source: "#run-news", target: "#run-news", swap: "outerHTML" }).finally(() => { asking = false; });
  }
  setInterval(look, EVERY);
  document.addEventListener("visibilitychange", look);

  function say(template) {
    const words = document.getElementById(template).content.cloneNode(true);
    const link = words.querySelector("a");
    if (link) link.href = location.href;
    news().replaceChildren(words);
  }

  // Its own failures stay in its own line: nobody asked for them to take the focus.
  document.addEventListener("htmx:responseError", (event) => {
    if (event.target !== news()) return;
    event.stopPropagation();
    if (event.detail.xhr.status === 401 || event.detail.xhr.status === 403) {
      // The session has ended. Asking again would not bring it back.
      delete news().dataset.url;
      say("lr-live-ended");
    } else {
      say("lr-live-unreachable");
    }
  }, { capture: true });
  for (const failure of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(failure, (event) => {
      if (event.target !== news()) return;
      event.stopPropagation();
      say("lr-live-unreachable");
    }, { capture: true });
  }
})();
