
"use strict";
// The page again, every two seconds, as long as somebody looks at it; nothing is lost without this.
setInterval(async () => {
  if (document.hidden) return;
  const main = document.querySelector("main");
  try {
    const answer = await fetch("/", { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = page.title;
    const at = document.activeElement;
    const focused = at.form ? `form[action="${at.form.getAttribute("action")}"] button`
      : at.matches(".wide") ? ".wide" : at.matches("a") ? `a[href="${at.getAttribute("href")}"]` : null;
    main.replaceChildren(...page.querySelector("main").childNodes);
    if (focused) main.querySelector(focused)?.focus({ preventScroll: true });
  } catch {
    document.title = "gatepass: no answer";
    const state = main.querySelector("header .state");
    state.textContent = "✗ gatepass does not answer";
    state.className = "state bad";
  }
}, 2000);
