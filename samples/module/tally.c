// SPDX-License-Identifier: MIT
// /proc/tally adds up the numbers that are written to it, one a write, and tells the sum to who reads it.
#include <linux/atomic.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static atomic64_t sum;

static int tally_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "%lld\n", (long long)atomic64_read(&sum));
	return 0;
}

static int tally_open(struct inode *inode, struct file *file)
{
	return single_open(file, tally_show, NULL);
}

static ssize_t tally_write(struct file *file, const char __user *text, size_t size, loff_t *offset)
{
	long long number;
	int error = kstrtoll_from_user(text, size, 10, &number);

	if (error)
		return error;
	atomic64_add(number, &sum);
	return size;
}

static const struct proc_ops tally_operations = {
	.proc_open = tally_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
	.proc_write = tally_write,
};

static int __init tally_init(void)
{
	return proc_create("tally", 0666, NULL, &tally_operations) ? 0 : -ENOMEM;
}

static void __exit tally_exit(void)
{
	remove_proc_entry("tally", NULL);
}

module_init(tally_init);
module_exit(tally_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("A sum of what was written");
