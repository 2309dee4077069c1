import { element } from "./page.ts";

const button = element<HTMLButtonElement>("theme");
const dark = matchMedia("(prefers-color-scheme: dark)");
let chosen: "light" | "dark" | null = null;

const now = () => chosen ?? (dark.matches ? "dark" : "light");
const other = () => (now() === "dark" ? "light" : "dark");

function apply(): void {
  document.documentElement.style.colorScheme = chosen ?? "";
  button.textContent = other() === "dark" ? "Dark theme" : "Light theme";
}

button.addEventListener("click", () => {
  chosen = other();
  apply();
});
dark.addEventListener("change", apply);
apply();
