// The bipartite matching of token alignment (Eq. 12): each word its own patch, at the least total cost.

/**
 * One-to-one assignment of least total cost, by shortest augmenting paths.
 *
 * `cost[word][patch]` are finite numbers. Returns each word's patch, or null where there are more words than patches.
 */
export function assign(cost) {
  const [rows, columns] = [cost.length, cost[0]?.length ?? 0];
  if (rows > columns) {
    const patches = Array(rows).fill(null);
    const transposed = Array.from({ length: columns }, (_, patch) => cost.map((row) => row[patch]));
    assign(transposed).forEach((word, patch) => (patches[word] = patch));
    return patches;
  }
  const rowPrice = Array(rows).fill(0);
  const columnPrice = Array(columns + 1).fill(0); // the last, imaginary column is where each path starts
  const rowOf = Array(columns + 1).fill(null);
  for (let row = 0; row < rows; row++) {
    let column = columns;
    rowOf[column] = row;
    const slack = Array(columns).fill(Infinity);
    const from = Array(columns).fill(null);
    const visited = new Set();
    while (rowOf[column] !== null) {
      visited.add(column);
      const current = rowOf[column];
      let nearest = null;
      for (let next = 0; next < columns; next++) {
        if (visited.has(next)) continue;
        const reduced = cost[current][next] - rowPrice[current] - columnPrice[next];
        if (reduced < slack[next]) [slack[next], from[next]] = [reduced, column];
        if (nearest === null || slack[next] < slack[nearest]) nearest = next;
      }
      const step = slack[nearest];
      for (const seen of visited) {
        rowPrice[rowOf[seen]] += step;
        columnPrice[seen] -= step;
      }
      for (let next = 0; next < columns; next++) if (!visited.has(next)) slack[next] -= step;
      column = nearest;
    }
    for (; column !== columns; column = from[column]) rowOf[column] = rowOf[from[column]];
    rowOf[columns] = null;
  }
  const patches = Array(rows).fill(null);
  rowOf.slice(0, columns).forEach((row, patch) => row !== null && (patches[row] = patch));
  return patches;
}
