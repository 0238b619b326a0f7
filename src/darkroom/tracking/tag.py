"""The names of the tags that Darkroom sets on a run."""

ENDED = "darkroom.ended"  # why the run is over: "finished", the error's sentence, the signal's name
PROCESS = "darkroom.process"  # "host:pid" of whoever holds the run's lock, or held it last
CLAIM = "darkroom.claim"  # the token of the claim under which a process made or resumed the run: see `claims`
RECORD = "darkroom.record"  # on a version of a registered model: the record of an outbox that it was made of
NUMBERED = "darkroom.numbered"  # on an experiment, with a stem behind it: the highest number that followed the stem
DRIFT = "darkroom.drift"  # JSON {parameter: [as first recorded, as resumed]}
OBJECTIVE = "darkroom.objective"  # the metric this run is judged by, such as "val/fid"
OBJECTIVE_MODE = "darkroom.objective_mode"  # "min" or "max"
OBJECTIVE_VALUE = "darkroom.objective_value"  # its value at the best checkpoint
HEALTH = "darkroom.health"  # "healthy", or what the sentinel found and when
POINT = "darkroom.point"  # digest of the configuration as it was typed, by which a sweep knows what is trained already
STUDY = "darkroom.study"  # on the run of a sweep: digest of all that makes it this one, so that it is gone on with
PRUNED = "darkroom.pruned"  # why a sweep ended this run before its time
BEST_TRIAL = "darkroom.best_trial"  # on the run of a sweep: the best run so far
COMMAND = "darkroom.command"  # the line that was typed to make the run
CONFIG_DIGEST = "darkroom.config_digest"  # equal digests, equal results
FORKED_FROM = "darkroom.forked_from"  # the run whose full state this one started from
INIT_FROM = "darkroom.init_from"  # the run whose weights this one started from
REPRODUCES = "darkroom.reproduces"  # the run that this one repeats
OUTPUT = "darkroom.output"  # the folder that the result is to be left in, for whoever goes on with an interrupted run
JOB = "darkroom.job"  # the queued job that a run is trained by, so that the job goes on with it when it is requeued
KIND = "darkroom.kind"  # what a run is that trains nothing: "edit"
EDITED_WITH = "darkroom.edited_with"  # the run whose checkpoint edited

DATA_DIGEST = "darkroom.data_digest"  # equal digests, equal data: what prepare writes into data.json
DVC_STAGE = "dvc.stage"  # the stage of dvc.yaml that made this run
DVC_EXPERIMENT = "dvc.exp"  # the name of the experiment that DVC made it in

GIT_COMMIT = "mlflow.source.git.commit"  # where MLflow's dashboard looks for it
GIT_DIRTY = "darkroom.git.dirty"
PARENT = "mlflow.parentRunId"
