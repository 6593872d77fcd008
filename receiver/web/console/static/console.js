// Optional: every page works without it. Live numbers, local times, keyboard shortcuts.
"use strict";

const PAGES = new Map([...document.querySelectorAll("[data-key]")].map((link) => [link.dataset.key, link]));
const CHORD_MS = 1500;

// Times

const zone = document.querySelector("[data-zone]");
const local = () => localStorage.getItem("times") === "local";

function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]:not(.ago)")) {
    time.dataset.utc ??= time.textContent;
    const at = new Date(time.dateTime);
    // The Swedish format is the one of the page: 2026-04-16 09:42:00.
    time.textContent = local() ? at.toLocaleString("sv") : time.dataset.utc;
    time.title = local() ? `${time.dataset.utc} UTC` : `${at.toLocaleString()} local time`;
  }
}

function offerZones() {
  const timeZone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!zone || !timeZone || timeZone === "UTC") return;
  const button = document.createElement("button");
  button.className = "quiet small";
  const label = () => {
    zone.firstChild.textContent = local() ? `All times are local (${timeZone}). ` : "All times are UTC. ";
    button.textContent = local() ? "Show UTC" : "Show local times";
  };
  button.addEventListener("click", () => {
    localStorage.setItem("times", local() ? "utc" : "local");
    label();
    showTimes(document);
  });
  zone.append(button, " ");
  label();
}

// Live numbers: while the page is visible and nothing on it is focused, selected or open. The area
// says after how many seconds it is loaded again; 0 is never.

function refresh() {
  const area = document.querySelector("[data-refresh]");
  const again = () => Number(area.dataset.refresh) && setTimeout(refresh, 1000 * area.dataset.refresh);
  const busy = area.contains(document.activeElement) || !getSelection().isCollapsed || area.querySelector("details[open]");
  if (document.hidden || busy) return void again();
  fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" })
    .then(async (answer) => {
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-refresh]");
      if (fresh) {
        area.replaceChildren(...fresh.childNodes);
        area.dataset.refresh = fresh.dataset.refresh;
        document.title = page.title;
        showTimes(area);
      }
      area.classList.remove("stale");
    })
    .catch(() => area.classList.add("stale"))
    .finally(again);
}

// Keyboard shortcuts

let previousKey = "";

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("find")?.select();
  } else if (previousKey === "g" && PAGES.has(event.key)) {
    PAGES.get(event.key).click();
  } else {
    previousKey = event.key;
    setTimeout(() => { previousKey = ""; }, CHORD_MS);
  }
});

showTimes(document);
offerZones();
const area = document.querySelector("[data-refresh]");
if (Number(area?.dataset.refresh)) setTimeout(refresh, 1000 * area.dataset.refresh);
