// A user's own worker script around the package's, for the tests of what happens when a GPU fails.
import "./gpu.js";
import "./coca-worker.js";
