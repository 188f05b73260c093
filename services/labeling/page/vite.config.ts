import { defineConfig } from "vite";

// The server's content security policy allows no inline script, and no data in place of a file.
export default defineConfig({
  base: "/",
  build: {
    outDir: "built",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  worker: { format: "es" },
});
