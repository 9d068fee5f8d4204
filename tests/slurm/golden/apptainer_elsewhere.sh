#!/bin/bash

# Parameters
#SBATCH --array=0-1%2
#SBATCH --chdir=/shared/runs
#SBATCH --cpus-per-task=1
#SBATCH --gres=gpu:1
#SBATCH --job-name=rs-study-0001-abc123
#SBATCH --no-requeue
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/shared/runs/jobs/rs-study-0001/submitit/%A_%a_0_log.out
#SBATCH --signal=USR2@90
#SBATCH --time=240

# setup
export SWEEP_JOB_BEGAN=$(date +%s)
export PYTHONSAFEPATH=1

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /shared/runs/jobs/rs-study-0001/submitit/%A_%a_%t_log.out --cpus-per-task=1 apptainer exec --nv --bind /data:/data:ro --bind /shared/runs:/shared/runs --bind /site:/site /images/rm.sif python3 -u -m slurm.start_array /shared/runs/jobs/rs-study-0001
