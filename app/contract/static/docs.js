// Shows one part of the contract at a time, chosen by the address: #http, or anything else for the socket.
const dark = matchMedia("(prefers-color-scheme: dark)");
const parts = { socket: document.getElementById("socket"), http: document.getElementById("http") };
let isDrawn = false;

function follow() {
  const chosen = location.hash.startsWith("#http") ? "http" : "socket";
  for (const [name, part] of Object.entries(parts)) part.hidden = name !== chosen;
  for (const link of document.querySelectorAll("nav a[href^='#']")) {
    if (link.hash === `#${chosen}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  if (chosen === "http" && !isDrawn) {
    isDrawn = true;
    SwaggerUIBundle({ url: "openapi.json", domNode: document.getElementById("swagger-ui"), validatorUrl: null });
  }
}

function paint() {
  document.documentElement.classList.toggle("dark-mode", dark.matches);
}

addEventListener("hashchange", follow);
dark.addEventListener("change", paint);
paint();
follow();
