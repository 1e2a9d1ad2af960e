// Written out as plain files, so that no server of Next.js is needed to look at it.
export default { output: "export" };
