/** The trials that forward and backward both have to pass: every tail, edge, image and hostile input. */
import {
  edgeShapes,
  fill,
  geometryOf,
  type Input,
  imageShapes,
  plain,
  presences,
  type Subject,
  subjectsOfEveryFamily,
  tailShapes,
} from "./cases.js";
import { gradientFor, type Trial } from "./judge.js";

interface Entry {
  readonly subject: Subject;
  readonly mode?: "train" | "eval";
}

/** Named lists of subjects, with an ordinary input each. */
export const ordinary: ReadonlyArray<{ readonly name: string; readonly entries: readonly Entry[] }> = [
  ...presences.flatMap((affine) => {
    const name = `gamma ${affine.gamma}, beta ${affine.beta}`;
    const small = edgeShapes.filter(([rows, columns]) => rows * columns < 5000);
    const everyFamily = (shapes: ReadonlyArray<readonly [number, number]>, more: number) =>
      shapes
        .flatMap(([rows, columns]) => subjectsOfEveryFamily(rows + more, columns))
        // RMS norm has no beta
        .filter(({ family }) => family !== "rms" || !affine.beta)
        .map((subject) => ({ subject: { ...subject, affine } }));
    return [
      { name: `batch norm over every tail and edge, both modes, ${name}`, entries: batchNorm(affine) },
      { name: `every family and layout over every tail, ${name}`, entries: everyFamily(tailShapes, 1) },
      { name: `every family and layout around the unrolled widths, ${name}`, entries: everyFamily(small, 0) },
    ];
  }),
  ...imageShapes.map((image) => ({ name: `images: ${image.name}`, entries: images(image) })),
];

function batchNorm(affine: NonNullable<Subject["affine"]>): Entry[] {
  return [...tailShapes, ...edgeShapes].flatMap((shape): Entry[] => {
    const subject: Subject = { family: "batch", shape, affine };
    return shape[0] > 1 ? [{ subject }, { subject, mode: "eval" }] : [{ subject, mode: "eval" }];
  });
}

function images({ n, spatial, channels }: (typeof imageShapes)[number]): Entry[] {
  const last = { layout: "channels-last", shape: [n, ...spatial, channels] } as const;
  const first = { layout: "channels-first", shape: [n, channels, ...spatial] } as const;
  const entries = [last, first].flatMap((image): Entry[] => [
    { subject: { family: "batch", ...image } },
    { subject: { family: "batch", ...image }, mode: "eval" },
    { subject: { family: "group", groups: 2, ...image } },
    ...(spatial.some((size) => size > 1) ? [{ subject: { family: "instance", ...image } } as const] : []),
  ]);
  return [
    ...entries,
    { subject: { family: "layer", shape: last.shape } },
    { subject: { family: "layer", shape: first.shape, trailing: 1 + spatial.length } },
    { subject: { family: "rms", shape: last.shape } },
  ];
}

/** An ordinary trial; forward tests leave its dy away. */
export function trialOf({ subject, mode = "train" }: Entry): Required<Pick<Trial, "dy">> & Trial {
  const geometry = geometryOf(subject);
  return { subject, mode, x: fill(plain, geometry), dy: gradientFor(geometry) };
}

/** A hostile input for every family, in a few sizes; frozen as well where there is such a thing. */
export function* hostile(input: Input): Generator<Required<Pick<Trial, "dy">> & Trial> {
  for (const [rows, columns] of [
    [9, 5],
    [66, 16],
    [515, 9],
    [3, 67],
  ] as const) {
    for (const family of subjectsOfEveryFamily(rows, columns)) {
      const subject = { ...family, eps: input.eps };
      const geometry = geometryOf(subject);
      const x = fill(input, geometry);
      const trial = { subject, x, dy: gradientFor(geometry, input.dyScale), name: input.name };
      yield trial;
      if (family.family === "batch") yield { ...trial, mode: "eval" };
    }
  }
}
