"use client";

import { CoCa } from "coca-wasm";
import { useEffect, useState } from "react";

/** Imported on the server as well, but the model is only loaded in the browser. */
export function Classification({ image }) {
  const [text, setText] = useState("");
  useEffect(() => {
    const stop = new AbortController();
    classify(image, stop.signal).then(setText, (error) => {
      if (error.code !== "aborted") setText(String(error));
    });
    return () => stop.abort();
  }, [image]);
  return <output>{text}</output>;
}

async function classify(image, signal) {
  const model = await CoCa.load(undefined, { device: "cpu", signal });
  try {
    const [best] = await model.classify(image, ["a cat", "a red circle"], { signal });
    return best.label;
  } finally {
    await model.dispose();
  }
}
