
"use strict";
// The page again, every two seconds, as long as somebody looks at it; nothing is lost without this.
setInterval(async () => {
  if (document.hidden || document.activeElement.tagName === "BUTTON") return;
  const main = document.querySelector("main");
  try {
    const answer = await fetch("/", { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = page.title;
    main.replaceChildren(...page.querySelector("main").childNodes);
  } catch {
    document.title = "gatepass: no answer";
    const state = main.querySelector("header .state");
    state.textContent = "✗ gatepass does not answer";
    state.className = "state bad";
  }
}, 2000);
