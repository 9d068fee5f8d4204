#!/bin/bash
#SBATCH --job-name=rs-keeper-24a368
#SBATCH --time=2880
#SBATCH --cpus-per-task=1
#SBATCH --mem=4096M
#SBATCH --partition=cpu
#SBATCH --account=proj
#SBATCH --dependency=singleton
#SBATCH --output='/shared/runs 100%%/nights/keeper.log'
#SBATCH --open-mode=append
#SBATCH --chdir='/shared/runs 100%'
#SBATCH --no-requeue
export HF_HOME=/shared/hf
export SLURM_CONF=/etc/slurm/slurm.conf
export SWEEP_DATA=/shared/data
module load python/3.11
sbatch --begin=now+10minutes --dependency="afterany:$SLURM_JOB_ID,singleton" "$0"
exec /env/bin/sweep nightly serve --workspace '/shared/runs 100%'
