"""What came of a run: tables in Markdown, all figures in JSON, and the plot."""
import works


def progress(run, of_kind):
    for w in of_kind:
        for name, stretches in run.stretches.get(w.name, {}).items():
            base = run.stretches[w.name].get("floor", [])
            print(w.name, name, f"cost {works.median(stretches, lambda s: s.cost):.2f}", "ratio", works.ratio(stretches, base),
                  "rate", works.median(stretches, lambda s: s.said["rate"]), "p50", works.median(stretches, lambda s: s.said.get("p50_us", 0)), 
                  "wall", works.median(stretches, lambda s: s.said["seconds"]), 
                  {k: round(v/1e3/stretches[0].units,2) for k,v in stretches[0].cpu.items()},
                  {k: round(v/1e3/stretches[0].units,2) for k,v in stretches[0].beside.items()}, flush=True)


def write(run, *_, **__):
    for f in run.failures:
        print(f)
    print(run.stretches.get("idle"), run.stretches.get("start"), run.stretches.get("crypt"))
