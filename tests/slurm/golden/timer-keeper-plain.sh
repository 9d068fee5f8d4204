#!/bin/bash
#SBATCH --job-name=rs-keeper-29c3b6
#SBATCH --time=1440
#SBATCH --cpus-per-task=1
#SBATCH --mem=2048M
#SBATCH --dependency=singleton
#SBATCH --output=/runs/nights/keeper.log
#SBATCH --open-mode=append
#SBATCH --chdir=/runs
#SBATCH --no-requeue
sbatch --begin=now+10minutes --dependency="afterany:$SLURM_JOB_ID,singleton" "$0"
exec /env/bin/sweep nightly serve --workspace /runs
