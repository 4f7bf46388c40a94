using System.Threading.Channels;

namespace Kvm.Interop.Tests.Kvm;

/// <summary>A vCPU thread comes out of KVM_RUN when it is wanted, by a signal that has no handler.</summary>
public sealed class KickTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Every_kick_brings_the_thread_back_once(bool halted)
    {
        // With in-kernel chips a HLT sleeps in the kernel; without, the guest loops.
        using KvmSystem system = RealKvm.Open();
        using VcpuThread thread = new(system, halted);
        int id = await thread.ReadThreadId();

        for (int i = 0; i < 50; i++)
        {
            ThreadSignals.Kick(id).Should().BeTrue();
            (int result, bool drained) = await thread.ReadReturn();
            result.Should().Be(-Errno.EINTR);
            drained.Should().BeTrue();
        }
    }

    [SkippableFact]
    public async Task A_kick_before_the_run_is_not_lost()
    {
        using KvmSystem system = RealKvm.Open();
        using VcpuThread thread = new(system, halted: false, kickItself: true);
        await thread.ReadThreadId();

        (int result, bool drained) = await thread.ReadReturn();

        result.Should().Be(-Errno.EINTR);
        drained.Should().BeTrue();
    }

    [Fact]
    public async Task A_kick_of_a_thread_that_is_gone_says_so()
    {
        TaskCompletionSource<int> id = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Thread thread = new(() => id.SetResult(ThreadSignals.CurrentThreadId()));
        thread.Start();
        int number = await id.Task;
        thread.Join();

        // Join returns when the runtime is done with the thread; the kernel's thread ends shortly after.
        SpinWait.SpinUntil(() => !Directory.Exists($"/proc/self/task/{number}"), Limit).Should().BeTrue();
        ThreadSignals.Kick(number).Should().BeFalse();
    }

    [Fact]
    public void Nothing_is_drained_where_nothing_is_pending()
    {
        ThreadSignals.Drain().Should().BeFalse();
    }

    /// <summary>A vCPU on a thread of its own that reports each return of KVM_RUN.</summary>
    private sealed class VcpuThread : IDisposable
    {
        private readonly Channel<(int, bool)> _returns = Channel.CreateUnbounded<(int, bool)>();
        private readonly TaskCompletionSource<int> _id = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly KvmVm _vm;
        private readonly HostMapping _memory;
        private readonly KvmVcpu _vcpu;
        private readonly Thread _thread;
        private volatile bool _stop;

        public VcpuThread(KvmSystem system, bool halted, bool kickItself = false)
        {
            _vm = system.CreateVm();
            if (halted)
            {
                _vm.CreateIrqChip();
            }

            _memory = HostMapping.Anonymous(0x1000);
            _memory.Span[0] = halted ? (byte)0xf4 : (byte)0xeb;
            _memory.Span[1] = 0xfe;
            _vm.SetUserMemoryRegion(0, 0, 0x1000, _memory.Address);
            _vcpu = _vm.CreateVcpu(0);
            _vcpu.GetSregs(out KvmSregs sregs);
            sregs.Cs.Base = 0;
            sregs.Cs.Selector = 0;
            _vcpu.SetSregs(in sregs);
            KvmRegs regs = new() { Rflags = 2 };
            _vcpu.SetRegs(in regs);
            _thread = new Thread(() => Loop(kickItself)) { IsBackground = true, Name = "vcpu test" };
            _thread.Start();
        }

        public Task<int> ReadThreadId() => _id.Task.WaitAsync(Limit);

        public Task<(int Result, bool Drained)> ReadReturn() => _returns.Reader.ReadAsync().AsTask().WaitAsync(Limit);

        public void Dispose()
        {
            _stop = true;
            _vcpu.RunPage.ImmediateExit = true;
            ThreadSignals.Kick(_id.Task.Result);
            _thread.Join(Limit).Should().BeTrue();
            _vcpu.Dispose();
            _vm.Dispose();
            _memory.Dispose();
        }

        private void Loop(bool kickItself)
        {
            ThreadSignals.PrepareVcpuThread(_vcpu);
            int id = ThreadSignals.CurrentThreadId();
            if (kickItself)
            {
                ThreadSignals.Kick(id);
            }

            _id.SetResult(id);
            while (!_stop)
            {
                int result = _vcpu.Run();
                _returns.Writer.TryWrite((result, ThreadSignals.Drain()));
            }
        }
    }
}
