"""The dashboards of deploy/ are dashboards by Grafana's own types; a wrong type and an unknown key are not."""
import copy
import glob
import json
import os

from checks import Row
from lib.context import Failure, expect
from peers import grafana, javascript

PROGRAM = """import type { Dashboard } from "@grafana/schema";
const board: Dashboard = %s;
export default board;
"""
OPTIONS = {"noEmit": True, "strict": True, "skipLibCheck": True, "moduleResolution": "bundler", "module": "esnext",
           "types": []}


def compile_board(ctx, packages, name, board):
    """What the compiler says; raises Failure on a type error."""
    path = ctx.write(name + ".ts", PROGRAM % json.dumps(board, indent=1))
    tsc = os.path.join(packages, "node_modules", "typescript", "bin", "tsc")
    project = ctx.write(name + ".json", json.dumps({"compilerOptions": OPTIONS, "files": [path]}))
    return ctx.run([javascript.node(), tsc, "-p", project], timeout=60)


def wrong(board, change):
    other = copy.deepcopy(board)
    change(other)
    return other


MISTAKES = {
    "schemaVersion": lambda b: b.update(schemaVersion="39"),
    "gridPos": lambda b: b["panels"][0]["gridPos"].update(hh=8),
    "targets": lambda b: b["panels"][0].update(targets={}),
}


def run(ctx):
    packages = grafana.install()
    link = os.path.join(ctx.dir, "node_modules")
    if not os.path.islink(link):
        os.symlink(os.path.join(packages, "node_modules"), link)
    paths = sorted(glob.glob(os.path.join(ctx.source, "deploy", "grafana", "*.json")))
    expect(len(paths) >= 3, "dashboards: %s" % paths)
    for path in paths:
        with open(path) as f:
            board = json.load(f)
        compile_board(ctx, packages, os.path.splitext(os.path.basename(path))[0], board)
    for name, change in MISTAKES.items():
        try:
            compile_board(ctx, packages, "wrong_" + name, wrong(board, change))
        except Failure:
            continue
        raise Failure("the schema takes a wrong " + name)
    os.unlink(link)
    return "%d dashboards, %d mistakes refused" % (len(paths), len(MISTAKES))


ROWS = [Row("grafana-schema", "quick", "@grafana/schema", grafana.VERSION, "dashboards by Grafana's published types", run,
            needs=[grafana.install], order=23)]
