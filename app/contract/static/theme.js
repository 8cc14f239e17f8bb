// The theme: light or dark as the system has it, until the button chooses. Loaded before anything is painted.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";

  function chosen() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage may be forbidden
    }
  }

  function choose(theme) {
    root.dataset.theme = theme;
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // it then holds for this page only
    }
  }

  if (["light", "dark"].includes(chosen())) root.dataset.theme = chosen();

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => {
      button.textContent = isDark() ? "☀" : "☾";
      button.title = isDark() ? "Light" : "Dark";
      button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"}`);
    };
    button.addEventListener("click", () => {
      choose(isDark() ? "light" : "dark");
      label();
    });
    dark.addEventListener("change", label);
    label();
  });
})();
