using System.Text;
using Kvm.Interop;
using Kvm.Sched;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Scheduling;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Tests.Configuration;

public sealed class SchedulingConfigTests
{
    [Fact]
    public void What_a_guest_is_to_its_scheduler_is_written_and_read_back()
    {
        var settings = new RunSettings
        {
            Machine = new VmConfig { KernelPath = "/boot/vmlinuz", Affinity = [0, 1, 5] },
            Scheduling = new SchedulingSettings
            {
                Policy = "rap",
                Priority = -7,
                Weight = 2.5,
                Length = 3_000_000,
                Class = "batch",
                Cap = 0.5,
                Reservation = 0.25,
                Gang = true,
                MayWait = true,
                StopOnLoss = true,
                Rules = new SchedulerRules { Slice = 20_000, Ageing = 30_000, Limit = 40_000, Boost = 50_000, Period = 60_000, Capacity = new ResourceVector(0, 4L << 30, 0, 7), Learn = true },
            },
        };

        var read = Parse(ConfigFile.Write(settings));

        read.Scheduling.Should().Be(settings.Scheduling);
        read.Machine.Affinity.Should().Equal(0, 1, 5);
    }

    [Theory]
    [InlineData("\"policy\": \"lottery\"", "'policy' is not one of host, fcfs")]
    [InlineData("\"weight\": 0", "'weight' is not a number from 0.001")]
    [InlineData("\"weight\": -1", "'weight' is not a number")]
    [InlineData("\"priority\": 1.5", "'priority' is not a whole number")]
    [InlineData("\"affinity\": \"0-\"", "'affinity' is not a list of CPUs such as 0-3,8")]
    [InlineData("\"affinity\": 3", "'affinity' is not a text")]
    [InlineData("\"slice_us\": 9", "'slice_us' is not a whole number from 10")]
    [InlineData("\"period_us\": 1", "'period_us' is not a whole number from 10")]
    [InlineData("\"capacity\": \"memory=1G,disc=5\"", "'capacity' has 'disc', which is not one of memory, disk, iops, network")]
    [InlineData("\"capacity\": \"memory=0\"", "'capacity' has 'memory=0', which is not an amount")]
    [InlineData("\"learn\": 1", "'learn'")]
    [InlineData("\"admission\": \"later\"", "'admission' is not one of refuse, queue")]
    [InlineData("\"priorty\": 1", "did you mean 'priority'?")]
    public void A_wrong_value_is_named_with_what_it_should_be(string member, string part)
    {
        Action parse = () => Parse($"{{ \"scheduling\": {{ {member} }} }}");

        parse.Should().Throw<VmmException>().Where(e => e.Message.Contains(part) && e.ExitCode == ExitCode.BadInput);
    }

    [Fact]
    public void CPUs_that_cannot_be_used_are_named_with_the_reason_and_those_that_can()
    {
        Action check = () => CpuAffinity.Check([HostThread.GetAffinity(0)[0], 8000]);

        check.Should().Throw<VmmException>().Where(e => e.Error.Id == "KVM0404" && e.Message.Contains("CPU 8000 does not exist; this process may use "));
        CpuAffinity.Check(HostThread.GetAffinity(0));
    }

    [Theory]
    [InlineData("0::/a/b\n", "a/b/memory.max", "4096\n", 4096)]
    [InlineData("0::/a/b\n", "a/memory.max", "8192\n", 8192)]
    [InlineData("0::/a/b\n", "a/b/memory.max", "max\n", 1 << 20)]
    [InlineData("0::/\n", "memory.max", "2048\n", 2048)]
    [InlineData("", "memory.max", "2048\n", 1 << 20)]
    [InlineData("7:memory:/x\n", "memory.max", "2048\n", 1 << 20)]
    [InlineData("7:memory:/x\n", "memory/x/memory.limit_in_bytes", "2048\n", 2048)]
    [InlineData("7:memory:/x\n", "memory/memory.limit_in_bytes", "9223372036854771712\n", 1 << 20)]
    public void The_memory_that_can_be_promised_is_the_hosts_or_its_cgroups(string groups, string file, string limit, long expected)
    {
        string folder = Directory.CreateTempSubdirectory("kvm-cgroup-").FullName;
        Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(folder, file))!);
        File.WriteAllText(Path.Combine(folder, file), limit);
        File.WriteAllText(Path.Combine(folder, "meminfo"), "MemTotal:           1024 kB\nMemFree: 5 kB\n");
        File.WriteAllText(Path.Combine(folder, "groups"), groups);

        HostMemory.Limit(Path.Combine(folder, "meminfo"), Path.Combine(folder, "groups"), folder).Should().Be(expected);

        Directory.Delete(folder, recursive: true);
    }

    [Theory]
    [InlineData("0::/a/b\n", "a/b/cpu.max", "150000 100000\n", 1.5)]
    [InlineData("0::/a/b\n", "cpu.max", "20000 100000\n", 0.2)]
    [InlineData("0::/a/b\n", "a/cpu.max", "max 100000\n", double.PositiveInfinity)]
    [InlineData("2:cpuacct:/x\n1:cpu:/x\n0::/\n", "cpu/x/cpu.cfs_quota_us", "250000\n", 2.5)]
    [InlineData("1:cpu,cpuacct:/x\n", "cpu,cpuacct/cpu.cfs_quota_us", "50000\n", 0.5)]
    [InlineData("1:cpu:/x\n", "cpu/x/cpu.cfs_quota_us", "-1\n", double.PositiveInfinity)]
    [InlineData("1:cpuset:/x\n", "cpuset/x/cpu.cfs_quota_us", "50000\n", double.PositiveInfinity)]
    [InlineData("", "cpu.max", "5 10\n", double.PositiveInfinity)]
    public void The_CPU_time_a_process_may_use_is_its_cgroups(string groups, string file, string quota, double expected)
    {
        string folder = Directory.CreateTempSubdirectory("kvm-cgroup-").FullName;
        string path = Path.Combine(folder, file);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, quota);
        File.WriteAllText(Path.Combine(Path.GetDirectoryName(path)!, "cpu.cfs_period_us"), "100000\n");
        File.WriteAllText(Path.Combine(folder, "groups"), groups);

        HostCpuQuota.Limit(Path.Combine(folder, "groups"), folder).Should().Be(expected);

        Directory.Delete(folder, recursive: true);
    }

    [Theory]
    [InlineData(0, double.PositiveInfinity, 0)]
    [InlineData(0, 1.5, 1.5)]
    [InlineData(1, 1.5, 1)]
    [InlineData(1.8, 1.5, 1.5)]
    [InlineData(0, 2, 0)]
    public void A_guest_of_two_vCPUs_is_capped_at_what_its_cgroup_allows(double cap, double quota, double expected)
    {
        var request = new SchedulingRequest { Job = new JobSpec { Vcpus = 2, Cap = cap } }.OfThisProcess([4, 5], 1, quota);

        (request.Job.Cap, request.Job.Node).Should().Be((expected, 1));
        request.Affinity.Should().Equal(4, 5);
    }

    [Fact]
    public void Rules_become_the_options_of_a_scheduler_that_is_started()
    {
        new SchedulerRules().ToArguments().Should().BeEmpty();
        new SchedulerRules { Slice = 1_000_000, Ageing = 2, Limit = 3, Boost = 4, Period = 5, Capacity = new ResourceVector(0, 1 << 20, Network: 9), Learn = true }.ToArguments()
            .Should().Equal("--slice", "1000000ns", "--ageing", "2ns", "--limit", "3ns", "--boost", "4ns", "--period", "5ns", "--capacity", "memory=1048576,network=9", "--learn");
        new SchedulerRules().ToSettings().Should().Be(new PolicySettings());
    }

    [Fact]
    public void Only_what_was_said_can_differ_from_a_schedulers_rules()
    {
        var settings = new PolicySettings { Slice = 5_000_000, Capacity = new ResourceVector(0, 1 << 20) };

        new SchedulerRules().DifferencesTo(settings).Should().BeEmpty();
        new SchedulerRules { Slice = 5_000_000, Capacity = new ResourceVector(0, 1 << 20) }.DifferencesTo(settings).Should().BeEmpty();
        new SchedulerRules { Slice = 4_000_000, Limit = 1_500_000, Capacity = new ResourceVector(0, 1 << 21, 5), Learn = true }.DifferencesTo(settings).Should().Equal(
            ("--slice", "5ms", "4ms"), ("--limit", "off", "1.5ms"), ("--capacity", "memory=1048576", "memory=2097152"), ("--capacity", "disk without end", "disk=5"), ("--learn", "off", "on"));
    }

    [Theory]
    [InlineData("batch", "web", "batch")]
    [InlineData("", "web", "web")]
    [InlineData("", VmConfig.DefaultName, "/boot/vmlinuz")]
    public void A_guest_is_of_the_class_it_names_or_that_of_its_name_or_kernel(string of, string name, string expected) =>
        new SchedulingSettings { Class = of }.RequestFor(new VmConfig { KernelPath = "/boot/vmlinuz", Name = name }).Class.Should().Be(expected);

    [Fact]
    public void A_guest_needs_of_disks_what_their_limits_let_it_have()
    {
        DiskConfig.Parse("a.img,bps=4M,iops=500", out var limited).Should().BeNull();
        DiskConfig.Parse("b.img,bps=1M", out var other).Should().BeNull();
        DiskConfig.Parse("c.img", out var free).Should().BeNull();

        var needs = new SchedulingSettings().RequestFor(new VmConfig { KernelPath = "/boot/vmlinuz", MemoryBytes = 1 << 30, Disks = [limited, other, free] }).Job.Needs;

        needs.Memory.Should().Be(1 << 30);
        needs.DiskBytes.Should().BeApproximately(5 << 20, 100);
        needs.DiskOperations.Should().BeApproximately(500, 0.1);
    }

    [Fact]
    public void A_kernel_with_a_long_path_is_a_class_by_its_end()
    {
        string path = "/" + new string('a', 300) + "/vmlinuz";

        new SchedulingSettings().RequestFor(new VmConfig { KernelPath = path }).Class.Should().HaveLength(SchedulingRequest.LongestClass).And.EndWith("/vmlinuz");
    }

    private static RunSettings Parse(string text) => ConfigFile.Parse(Encoding.UTF8.GetBytes(text), "test.json");
}
