using System.Globalization;
using System.Reflection;

namespace Kvm.Interop.Tests.Layout;

/// <summary>Every number is proven against the C headers of this machine; those the headers are too old for are listed by name.</summary>
public sealed class ConstantTests
{
    /// <summary>Names that came into linux/kvm.h after Linux 6.1: the header may lack these and no others.</summary>
    private static readonly string[] NewerThanLinux61 =
    [
        "KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP", "KVM_CAP_PMU_EVENT_MASKED_EVENTS", "KVM_CAP_USER_MEMORY2", "KVM_CAP_MEMORY_FAULT_INFO",
        "KVM_CAP_MEMORY_ATTRIBUTES", "KVM_CAP_GUEST_MEMFD", "KVM_CAP_VM_TYPES", "KVM_CAP_PRE_FAULT_MEMORY", "KVM_CAP_X86_APIC_BUS_CYCLES_NS",
        "KVM_CAP_X86_GUEST_MODE", "KVM_EXIT_LOONGARCH_IOCSR", "KVM_EXIT_MEMORY_FAULT", "KVM_EXIT_TDX", "MFD_EXEC",
        // linux/landlock.h: TRUNCATE came with Linux 6.2, the others later; the rule's kind is an enumerator.
        "LANDLOCK_ACCESS_FS_TRUNCATE", "LANDLOCK_ACCESS_FS_IOCTL_DEV", "LANDLOCK_ACCESS_NET_BIND_TCP", "LANDLOCK_ACCESS_NET_CONNECT_TCP",
        "LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET", "LANDLOCK_SCOPE_SIGNAL", "LANDLOCK_RULE_PATH_BENEATH",
    ];

    [SkippableFact]
    public void Every_ioctl_number_is_the_headers() =>
        Check(ConstantsOf(typeof(KvmIoctl)), atLeast: 80);

    [SkippableFact]
    public void Every_flag_of_kvm_is_the_headers() =>
        Check(ConstantsOf(typeof(KvmConst)), atLeast: 90);

    [SkippableFact]
    public void Every_capability_number_is_the_headers() =>
        Check(EnumOf<KvmCap>(name => name), atLeast: 110);

    [SkippableFact]
    public void Every_exit_reason_is_the_headers() =>
        Check(EnumOf<KvmExit>(name => "KVM_EXIT_" + ManagedLayout.ToC(name).ToUpperInvariant()), atLeast: 38);

    [SkippableFact]
    public void Every_enumeration_of_kvm_is_the_headers() =>
        Check(
            [
                .. EnumOf<KvmMpStateValue>(name => "KVM_MP_STATE_" + ManagedLayout.ToC(name).ToUpperInvariant()),
                .. EnumOf<KvmIrqchipId>(name => "KVM_IRQCHIP_" + ManagedLayout.ToC(name).ToUpperInvariant()),
                ("KVM_MEM_LOG_DIRTY_PAGES", (ulong)KvmMemoryFlags.LogDirtyPages),
                ("KVM_MEM_READONLY", (ulong)KvmMemoryFlags.ReadOnly),
            ],
            atLeast: 11);

    [SkippableFact]
    public void Every_error_number_is_the_headers() =>
        Check(ConstantsOf(typeof(Errno)), atLeast: 30);

    [SkippableFact]
    public void Every_constant_of_the_C_library_is_the_headers() =>
        Check([.. ConstantsOf(typeof(Libc)), .. ConstantsOf(typeof(Termios)), .. ConstantsOf(typeof(PollFd))], atLeast: 60);

    [SkippableFact]
    public void Every_event_bit_of_epoll_is_the_headers() =>
        Check(
            [
                ("EPOLLIN", (ulong)EpollEvents.In), ("EPOLLOUT", (ulong)EpollEvents.Out), ("EPOLLERR", (ulong)EpollEvents.Err),
                ("EPOLLHUP", (ulong)EpollEvents.Hup), ("EPOLLRDHUP", (ulong)EpollEvents.RdHup), ("EPOLLEXCLUSIVE", (ulong)EpollEvents.Exclusive),
                ("EPOLLONESHOT", (ulong)EpollEvents.OneShot), ("EPOLLET", (ulong)EpollEvents.EdgeTriggered),
            ],
            atLeast: 8);

    [SkippableFact]
    public void Every_operation_of_io_uring_is_the_headers()
    {
        CProgram.SkipUnlessPossible();
        (string Name, ulong Value)[] ours =
        [
            .. EnumOf<IoUringOp>(name => "IORING_OP_" + ManagedLayout.ToC(name).ToUpperInvariant()),
            .. EnumOf<IoUringRegister>(name => "IORING_REGISTER_" + ManagedLayout.ToC(name).ToUpperInvariant()),
        ];
        CProgram program = new();
        // Enumerators, which no #ifdef knows.
        foreach ((string name, _) in ours)
        {
            program.Print(name, name);
        }

        program.Run().Should().Equal(ours.ToDictionary(o => o.Name, o => o.Value)).And.HaveCountGreaterThan(9);
    }

    [SkippableFact]
    public void The_kick_signal_is_one_neither_the_C_library_nor_the_runtime_uses()
    {
        CProgram.SkipUnlessPossible();
        CProgram program = new();
        program.Print("first", "SIGRTMIN");
        program.Print("last", "SIGRTMAX");
        Dictionary<string, ulong> c = program.Run();

        // SIGRTMIN itself is the runtime's.
        ThreadSignals.KickSignal.Should().BeGreaterThan((int)c["first"]).And.BeLessThanOrEqualTo((int)c["last"]);
    }

    [Theory]
    [InlineData("Rax", "rax")]
    [InlineData("GuestPhysAddr", "guest_phys_addr")]
    [InlineData("X86Rdmsr", "x86_rdmsr")]
    [InlineData("Padding1", "padding1")]
    [InlineData("CIflag", "c_iflag")]
    [InlineData("R15", "r15")]
    public void Our_names_lead_to_those_of_C(string ours, string c)
    {
        ManagedLayout.ToC(ours).Should().Be(c);
    }

    [SkippableFact]
    public void A_wrong_number_is_noticed()
    {
        CProgram.SkipUnlessPossible();

        Differences([("KVM_CAP_IRQCHIP", 0), ("KVM_CAP_HLT", 7)], out _).Should().ContainSingle().Which.Should().Contain("KVM_CAP_HLT");
    }

    [Fact]
    public void The_table_of_capabilities_lists_each_once_with_its_own_name()
    {
        KvmCapInfo[] table = KvmCaps.All.ToArray();

        table.Select(row => row.Cap).Should().Equal(Enum.GetValues<KvmCap>());
        table.Should().OnlyContain(row => row.Name == row.Cap.ToString() && row.Gives.Length > 10);
        KvmCaps.NameOf(KvmCap.KVM_CAP_XSAVE2).Should().Be("KVM_CAP_XSAVE2");
        KvmCaps.NameOf((KvmCap)9999).Should().Be("9999");
    }

    private static void Check((string Name, ulong Value)[] ours, int atLeast)
    {
        CProgram.SkipUnlessPossible();
        ours.Should().HaveCountGreaterThanOrEqualTo(atLeast);

        Differences(ours, out string[] absent).Should().BeEmpty();

        absent.Should().BeSubsetOf(NewerThanLinux61);
    }

    private static List<string> Differences((string Name, ulong Value)[] ours, out string[] absent)
    {
        CProgram program = new();
        foreach ((string name, _) in ours)
        {
            program.Print(name, $"(unsigned long long)({name}) & (sizeof({name}) == 4 ? 0xffffffffull : ~0ull)", ifDefined: name);
        }

        Dictionary<string, ulong> c = program.Run();
        absent = [.. ours.Select(o => o.Name).Where(name => !c.ContainsKey(name))];
        return [.. ours.Where(o => c.TryGetValue(o.Name, out ulong theirs) && theirs != o.Value).Select(o => $"{o.Name}: {o.Value} here, {c[o.Name]} in C")];
    }

    private static (string Name, ulong Value)[] ConstantsOf(Type type) =>
        [.. type.GetFields(BindingFlags.Static | BindingFlags.Public | BindingFlags.DeclaredOnly)
            .Where(f => f.IsLiteral && f.FieldType != typeof(string))
            .Select(f => (f.Name, Convert.ToUInt64(f.GetRawConstantValue(), CultureInfo.InvariantCulture)))];

    private static (string Name, ulong Value)[] EnumOf<T>(Func<string, string> toC)
        where T : struct, Enum =>
        [.. Enum.GetValues<T>().Select(v => (toC(v.ToString()), Convert.ToUInt64(v, CultureInfo.InvariantCulture)))];
}
