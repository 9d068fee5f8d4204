#!/bin/bash

# Parameters
#SBATCH --account=night
#SBATCH --array=0-3%4
#SBATCH --chdir=/shared/runs
#SBATCH --constraint='nvlink&ib'
#SBATCH --cpus-per-task=12
#SBATCH --deadline=now+9000
#SBATCH --gres=gpu:h200:1
#SBATCH --job-name=rs-study-0001-abc123
#SBATCH --mem=98304M
#SBATCH --nice=250
#SBATCH --no-requeue
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/shared/runs/jobs/rs-study-0001/submitit/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --qos=normal
#SBATCH --signal=USR2@180
#SBATCH --time=150
#SBATCH --time-min=8

# setup
export SWEEP_JOB_BEGAN=$(date +%s)
export HF_HOME='/shared/hf cache'
module load cuda/12.4
source /opt/conda/bin/activate rm

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /shared/runs/jobs/rs-study-0001/submitit/%A_%a_%t_log.out --cpus-per-task=12 /env/bin/python -u -m slurm.start_array /shared/runs/jobs/rs-study-0001
