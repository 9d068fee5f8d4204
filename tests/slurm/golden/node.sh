#!/bin/bash

# Parameters
#SBATCH --account=proj
#SBATCH --array=0-11%12
#SBATCH --chdir=/shared/runs
#SBATCH --constraint='nvlink&ib'
#SBATCH --cpus-per-task=96
#SBATCH --exclusive
#SBATCH --gres=gpu:h200:8
#SBATCH --job-name=rs-study-0001-abc123
#SBATCH --licenses=matlab:1
#SBATCH --mem=1048576M
#SBATCH --nice=100
#SBATCH --no-requeue
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/shared/runs/jobs/rs-study-0001/submitit/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --qos=normal
#SBATCH --signal=USR2@180
#SBATCH --time=480
#SBATCH --wckey=rm

# setup
export SWEEP_JOB_BEGAN=$(date +%s)
export HF_HOME='/shared/hf cache'
module load cuda/12.4
source /opt/conda/bin/activate rm
export PYTHONSAFEPATH=1

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /shared/runs/jobs/rs-study-0001/submitit/%A_%a_%t_log.out --cpus-per-task=96 /env/bin/python -u -m slurm.start_array /shared/runs/jobs/rs-study-0001
