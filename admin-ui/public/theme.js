// Runs before the first paint, so that a page in the other theme never flashes. A file of its own:
// the Content-Security-Policy refuses inline scripts.
;(function () {
  var theme = null
  try {
    theme = localStorage.getItem("kiroproxy.theme")
  } catch {
    // storage may be off: the system's theme then
  }
  var dark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches)
  document.documentElement.classList.toggle("dark", dark)
})()
