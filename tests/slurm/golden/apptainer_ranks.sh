#!/bin/bash

# Parameters
#SBATCH --array=0-0%1
#SBATCH --chdir=/shared/runs
#SBATCH --cpus-per-task=1
#SBATCH --gres=gpu:4
#SBATCH --job-name=rs-study-0001-abc123
#SBATCH --no-requeue
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --open-mode=append
#SBATCH --output=/shared/runs/jobs/rs-study-0001/submitit/%A_%a_0_log.out
#SBATCH --signal=B:USR2@90
#SBATCH --time=240

# setup
export SWEEP_JOB_BEGAN=$(date +%s)
export PYTHONSAFEPATH=1

# command
export SUBMITIT_EXECUTOR=slurm
exec /env/bin/python -u -m slurm.start_array /shared/runs/jobs/rs-study-0001
