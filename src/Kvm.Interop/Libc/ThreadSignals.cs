namespace Kvm.Interop;

/// <summary>
/// Kicking a thread out of KVM_RUN without a signal handler: the thread blocks one real-time signal, gives KVM a mask without it
/// (<see cref="PrepareVcpuThread"/>), and whoever wants it back sends the signal (<see cref="Kick(int)"/>); KVM_RUN returns -EINTR and the
/// thread takes the signal away (<see cref="Drain"/>).
/// </summary>
public static unsafe class ThreadSignals
{
    /// <summary>
    /// The signal: 35. The C library keeps 32 and 33 for itself, and the runtime uses SIGRTMIN (34) to interrupt threads.
    /// </summary>
    public const int KickSignal = 35;

    /// <summary>The kernel's number of the calling thread, for <see cref="Kick(int)"/>.</summary>
    public static int CurrentThreadId() => (int)Libc.syscall(Libc.SYS_gettid, 0, 0, 0);

    /// <summary>
    /// Blocks <see cref="KickSignal"/> on the calling thread and has KVM unblock it while the vCPU runs; all other signals keep the
    /// thread's mask. Call on the vCPU's own thread before its first run.
    /// </summary>
    public static void PrepareVcpuThread(KvmVcpu vcpu)
    {
        SigSet kick = SigSet.Of(KickSignal);
        SigSet old = default;
        int error = Libc.pthread_sigmask(Libc.SIG_BLOCK, &kick, &old);
        if (error != 0)
        {
            throw new KvmException("pthread_sigmask", error);
        }

        vcpu.SetSignalMask(old.Low & ~kick.Low);
    }

    /// <summary>Sends <see cref="KickSignal"/> to a thread of this process. False where the thread is gone. Never blocks, never allocates.</summary>
    public static bool Kick(int threadId) => Libc.syscall(Libc.SYS_tgkill, Libc.getpid(), threadId, KickSignal) == 0;

    /// <summary>
    /// Sends <see cref="KickSignal"/> to a thread of another process of the same user. The thread has to block the signal: one that does
    /// not is ended by it, with its process.
    /// </summary>
    /// <returns>False where the process has no such thread, or is somebody else's. Never blocks, never allocates.</returns>
    public static bool Kick(int processId, int threadId) => processId > 0 && threadId > 0 && Libc.syscall(Libc.SYS_tgkill, processId, threadId, KickSignal) == 0;

    /// <summary>Takes pending kicks of the calling thread away; returns whether there was one. Never blocks.</summary>
    public static bool Drain()
    {
        SigSet kick = SigSet.Of(KickSignal);
        Timespec now = default;
        bool any = false;
        // A real-time signal queues: take them all. EINTR (a handler of another signal ran) means ask again.
        while (true)
        {
            if (Libc.sigtimedwait(&kick, null, &now) == KickSignal)
            {
                any = true;
            }
            else if (Errno.Last != Errno.EINTR)
            {
                return any;
            }
        }
    }
}
